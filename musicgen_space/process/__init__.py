"""How this process meets its machine: environment, proxies, addresses, and its end."""
