"""The process and its machine: environment variables, proxies, addresses, termination."""
