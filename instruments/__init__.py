"""The hands: wire messages, transport, hosts and drivers. Installs on the small PC beside a furnace."""
