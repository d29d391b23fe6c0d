"""Several servers behind one address, by Ray Serve, where that is installed."""

from __future__ import annotations

import functools
import importlib.util
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from sqlalchemy import select

from musicgen_space.backends.base import Backend
from musicgen_space.errors import InvalidRequest, InvalidSetting
from musicgen_space.server.accounts.keys import Keys
from musicgen_space.server.cluster.replicas import Replicas
from musicgen_space.server.cluster.serving import serve_cluster
from musicgen_space.server.database import CREDIT, Database, Job
from musicgen_space.server.jobs.store import COMPLETED
from musicgen_space.settings import VARIABLES, Settings
from tests.server.fixtures import PRICE, settings_in, until
from tests.server.humming import holding
from tests.servers.app import ROOT

RAY = importlib.util.find_spec("ray") is not None
MODEL = "meta-musicgen-medium"
LIVE = "/v1/audio/generate"
TIMES = {"beat": 0.2, "lease": 3.0}


def with_ray(test: Callable[..., None]) -> Callable[..., None]:
    """Where it is installed; it warns of itself."""
    needs = pytest.mark.skipif(not RAY, reason="needs Ray: pip install 'musicgen-space[cluster]'")
    return needs(pytest.mark.filterwarnings("ignore")(test))


@dataclass(frozen=True)
class Cluster:
    """Two servers, what they share, and a client with a key of its own."""

    settings: Settings
    go: Path
    database: Database
    account: str
    client: httpx.Client

    def opened(self, _: Settings) -> dict[str, Backend]:
        return {"local": holding(self.go)}

    @property
    def paid(self) -> float:
        """For so many takes."""
        left = Keys(self.database).account(self.account)
        assert left.reserved == 0
        return (10 * CREDIT - left.credits) / (PRICE * CREDIT)

    def jobs(self) -> list[Job]:
        with self.database.reading() as session:
            return [*session.scalars(select(Job).where(Job.account == self.account))]

    def submitted(self, count: int, prompt: str) -> list[dict[str, str]]:
        wishes = ({"prompt": prompt, "duration": 1, "seed": seed} for seed in range(count))
        answers = [self.client.post(f"/v2/{MODEL}", json=wish) for wish in wishes]
        return [answer.json() for answer in answers]

    def completed(self, jobs: list[dict[str, str]]) -> bool:
        answers = [self.client.get(each["status_url"]).json()["status"] for each in jobs]
        return set(answers) == {COMPLETED}


def held(go: Path, _: Settings) -> dict[str, Backend]:
    return {"local": holding(go)}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Path]]:
    folder = tmp_path_factory.mktemp("cluster")
    settings, go = settings_in(folder), folder / "go"
    with serve_cluster(settings, Replicas(2), functools.partial(held, go), **TIMES):
        yield settings, go


@pytest.fixture
def cluster(running: tuple[Settings, Path]) -> Iterator[Cluster]:
    settings, go = running
    go.unlink(missing_ok=True)
    with closing(Database(str(settings.database))) as database:
        account, key = Keys(database).add("tests", balance=10, per_minute=1000)
        with httpx.Client(
            base_url=settings.url, headers={"x-api-key": key}, timeout=60, trust_env=False
        ) as client:
            yield Cluster(settings, go, database, account, client)


def servers() -> list[psutil.Process]:
    """The processes of this machine's Ray that serve the API."""
    family = psutil.Process().children(recursive=True)
    return [each for each in family if ":MusicGen" in " ".join(each.cmdline())]


@contextmanager
def asked(cluster: Cluster, statuses: list[int]) -> Iterator[None]:
    """Ask again and again in the block, as four clients do."""
    enough = threading.Event()

    def ask() -> None:
        while not enough.is_set():
            wish = {"prompt": "jazz", "duration": 1}
            statuses.append(cluster.client.post(f"/v1/{MODEL}", json=wish).status_code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        enough.set()
        for thread in threads:
            thread.join()


@with_ray
def test_replicas_are_one_server(cluster: Cluster) -> None:
    client, wish = cluster.client, {"prompt": "jazz", "duration": 1}
    named = {"idempotency-key": "mine"}
    answers = [client.post(f"/v1/{MODEL}", json=wish, headers=named) for _ in range(4)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert "," not in answers[0].headers["x-request-id"]
    heard = {"input": "jazz", "audio_length": 2, "response_format": "pcm"}
    with client.stream("POST", LIVE, json=heard) as answer:
        assert sum(map(len, answer.iter_raw())) == 2 * 2 * 32_000
    links = cluster.submitted(1, "jazz")
    until(lambda: cluster.completed(links))
    file = client.get(client.get(links[0]["response_url"]).json()["output"])
    assert file.content.startswith(b"RIFF")
    assert cluster.paid == pytest.approx(3)


@with_ray
def test_sound_is_heard_from_the_server_that_has_its_model(cluster: Cluster) -> None:
    for _ in range(3):
        for model in ("musicgen-nano", "musicgen-small"):
            wish = {"input": "jazz", "audio_length": 1, "model": model, "response_format": "pcm"}
            answer = cluster.client.post(LIVE, json=wish)
            assert len(answer.content) == 2 * 32_000
            time.sleep(0.5)  # Ray's proxies hear of a model a little later
    makers = defaultdict(set)
    for job in cluster.jobs():
        makers[job.model].add(job.worker)
    assert {len(workers) for workers in makers.values()} == {1}
    assert len(set.union(*makers.values())) == 2
    assert cluster.client.post(LIVE, json={"input": "x", "model": "other"}).status_code == 404
    assert cluster.client.post(LIVE, content="nonsense").status_code == 415
    stranger = httpx.post(f"{cluster.settings.url}{LIVE}", json=wish, headers={"x-api-key": "no"})
    assert stranger.status_code == 401


@with_ray
def test_who_hangs_up_ends_the_music_of_another_server_too(cluster: Cluster) -> None:
    for model in ("musicgen-nano", "musicgen-small"):
        wish = {"input": "#hold", "audio_length": 1, "model": model}
        with cluster.client.stream("POST", LIVE, json=wish) as answer:
            next(answer.iter_raw())
    until(lambda: {job.status for job in cluster.jobs()} == {"CANCELLED"})
    assert cluster.paid == 0


@with_ray
def test_the_kill_of_a_server_loses_no_job(cluster: Cluster) -> None:
    links = cluster.submitted(6, "#hold")
    until(lambda: [job.status for job in cluster.jobs()].count("PROCESSING") == 2)
    killed = servers()[0]
    killed.kill()
    cluster.go.touch()
    until(lambda: cluster.completed(links))
    assert cluster.paid == pytest.approx(6)
    until(lambda: len(servers()) == 2)  # Ray has replaced it


@with_ray
def test_a_rolling_update_drops_nothing(cluster: Cluster) -> None:
    from ray import serve

    from musicgen_space.server.cluster.replica import NAME, application_of

    before, statuses = {each.pid for each in servers()}, list[int]()
    links = cluster.submitted(2, "#hold")
    until(lambda: [job.status for job in cluster.jobs()].count("PROCESSING") == 2)
    with asked(cluster, statuses):
        cluster.go.touch()
        again = functools.partial(held, cluster.go)
        changed = application_of(cluster.settings, Replicas(2), again, beat=0.2, lease=3.5)
        serve.run(changed, name=NAME, route_prefix="/")
        until(lambda: not before & {each.pid for each in servers()})
    assert {*statuses} == {200}
    until(lambda: cluster.completed(links))
    assert cluster.paid == pytest.approx(len(statuses) + 2)


@with_ray
def test_a_server_without_its_threads_is_not_well(tmp_path: Path) -> None:
    from musicgen_space.server.cluster.replica import Server

    server = Server(settings_in(tmp_path), functools.partial(held, tmp_path / "go"))
    server.service.start()
    server.check_health()
    server.service.runner.close()
    with pytest.raises(RuntimeError, match="thread"):
        server.check_health()
    server.close()
    server.check_health()  # it ends because it is to


@with_ray
@pytest.mark.parametrize(
    ("requests", "jobs", "servers"), [(0, 0, 0), (8, 0, 1), (9, 0, 2), (0, 40, 5), (10, 30, 5)]
)
def test_there_are_as_many_servers_as_make_all_at_once(
    requests: int, jobs: int, servers: int
) -> None:
    from musicgen_space.server.cluster.replica import wanted

    class Context:
        total_num_requests = requests
        aggregated_metrics = {"jobs": {"one": jobs, "another": jobs}}  # noqa: RUF012

        class config:  # noqa: N801
            target_ongoing_requests = 8

    context: Any = Context
    assert wanted(context)[0] == servers


def manifest() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docs/rayservice.yaml").read_text("utf-8"))
    return found


def test_the_manifest_names_what_is_there() -> None:
    found = manifest()
    assert (found["apiVersion"], found["kind"]) == ("ray.io/v1", "RayService")
    assert {*found["spec"]} == {"upgradeStrategy", "serveConfigV2", "rayClusterConfig"}
    cluster = found["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    containers = [each["template"]["spec"]["containers"][0] for each in groups]
    ours = {each.name for each in VARIABLES.values()} | {"RAY_USAGE_STATS_ENABLED"}
    assert all({each["name"] for each in container["env"]} <= ours for container in containers)
    assert len({container["image"] for container in containers}) == 1
    [application] = yaml.safe_load(found["spec"]["serveConfigV2"])["applications"]
    module, _, function = application["import_path"].partition(":")
    file = ROOT / f"{module.replace('.', '/')}.py"
    assert f"\ndef {function}(" in file.read_text(encoding="utf-8")


@with_ray
def test_ray_reads_the_manifest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ray.serve.schema import ServeDeploySchema

    from musicgen_space.server.cluster.replica import application

    monkeypatch.setenv("MUSICGEN_DATABASE", f"sqlite:///{tmp_path}/server.db")
    found = yaml.safe_load(manifest()["spec"]["serveConfigV2"])
    [schema] = ServeDeploySchema.model_validate(found).applications
    scaling = application(schema.args)._bound_deployment._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (1, 4)


def test_numbers_of_servers_are_checked() -> None:
    with pytest.raises(InvalidRequest, match="replicas"):
        Replicas(0)
    with pytest.raises(InvalidRequest, match="max-replicas"):
        Replicas(3, 2)


def test_without_ray_a_cluster_is_told_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(InvalidSetting, match="cluster"),
        serve_cluster(settings_in(tmp_path), Replicas()),
    ):
        pass
