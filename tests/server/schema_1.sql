BEGIN TRANSACTION;
CREATE TABLE accounts (
	id VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	digest BLOB, 
	scopes VARCHAR NOT NULL, 
	credits BIGINT NOT NULL, 
	reserved BIGINT NOT NULL, 
	per_minute BIGINT NOT NULL, 
	minute BIGINT NOT NULL, 
	used BIGINT NOT NULL, 
	served DOUBLE NOT NULL, 
	created DOUBLE NOT NULL, 
	revoked DOUBLE, 
	PRIMARY KEY (id), 
	UNIQUE (digest)
);
INSERT INTO "accounts" VALUES('owner','owner',NULL,'music metrics',0,0,0,0,0,0.0,0.0,NULL);
INSERT INTO "accounts" VALUES('00000000','phone',X'7FBA6B44F8ADD04D0080B00B86B4E96D5A3E5B61D164D6FF9A7524BB3251C1F4','music',8000000,2000000,60,0,0,1000.0,1000.0,NULL);
CREATE TABLE jobs (
	id VARCHAR NOT NULL, 
	account VARCHAR NOT NULL, 
	idempotency VARCHAR, 
	fingerprint VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	fields JSON NOT NULL, 
	clips JSON NOT NULL, 
	format VARCHAR NOT NULL, 
	price BIGINT NOT NULL, 
	status VARCHAR NOT NULL, 
	attempts BIGINT NOT NULL, 
	worker VARCHAR, 
	lease DOUBLE, 
	waiter VARCHAR, 
	waiter_lease DOUBLE, 
	created DOUBLE NOT NULL, 
	started DOUBLE, 
	finished DOUBLE, 
	error VARCHAR, 
	output VARCHAR, 
	PRIMARY KEY (id), 
	UNIQUE (account, idempotency), 
	FOREIGN KEY(account) REFERENCES accounts (id)
);
INSERT INTO "jobs" VALUES('6ef2fd33679748a4ba3973364b769dcc','00000000',NULL,'a477ba4eb5f7fb93ad0bf088b630b82bc931e274dc402e8790f89ab0f2ccd6a8','nano','{"prompt": "lo-fi", "duration": 10.0, "seed": 7, "top_k": 250, "top_p": 0.0, "temperature": 1.0, "guidance_scale": 3.0, "negative_prompt": "", "blend_prompt": ""}','{}','wav',2000000,'COMPLETED',1,'a',NULL,NULL,NULL,1000.0,1000.0,1000.0,NULL,'z3nzPJH1PoHdujZ8qxKHoBwxJrK_LcxC.wav');
INSERT INTO "jobs" VALUES('2686c843afc843ccb94694596fd3cbeb','00000000',NULL,'eb0cc5aad19a2b7e67cd89009df4363100ca962fedc18f028b9e5dfaf5cb79f8','nano','{"prompt": "jazz", "duration": 10.0, "seed": 7, "top_k": 250, "top_p": 0.0, "temperature": 1.0, "guidance_scale": 3.0, "negative_prompt": "", "blend_prompt": ""}','{}','wav',2000000,'QUEUED',0,NULL,NULL,NULL,NULL,1000.0,NULL,NULL,NULL,NULL);
CREATE TABLE outputs (
	name VARCHAR NOT NULL, 
	format VARCHAR NOT NULL, 
	size BIGINT NOT NULL, 
	created DOUBLE NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "outputs" VALUES('z3nzPJH1PoHdujZ8qxKHoBwxJrK_LcxC.wav','wav',4,1000.0);
CREATE TABLE pieces (
	output VARCHAR NOT NULL, 
	number BIGINT NOT NULL, 
	data BLOB NOT NULL, 
	PRIMARY KEY (output, number), 
	FOREIGN KEY(output) REFERENCES outputs (name) ON DELETE CASCADE
);
INSERT INTO "pieces" VALUES('z3nzPJH1PoHdujZ8qxKHoBwxJrK_LcxC.wav',0,X'52494646');
CREATE INDEX ix_outputs_created ON outputs (created);
CREATE INDEX jobs_by_status ON jobs (status, created);
COMMIT;
