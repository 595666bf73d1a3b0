"""Tells programs on the network that this server is here (DNS-SD by multicast), when `--announce` asks for it.

On loopback: `_osc._udp` and `_oscjson._tcp`, which touch surfaces and patchers on this machine look for. Beyond it,
where OSCQuery doesn't answer: `_osc._udp` and `_http._tcp`, the dashboard, for a phone's list of servers.
"""

from __future__ import annotations

import ipaddress
import os
import socket

from rtserver.control.listening import EVERYWHERE, LOOPBACK
from rtserver.errors import UserError


class Announcement:
    """Services by name. UserError if zeroconf is not installed."""

    def __init__(self, host: str, port: int, sealed: bool) -> None:
        try:
            from zeroconf import InterfaceChoice, IPVersion, ServiceInfo
            from zeroconf.asyncio import AsyncZeroconf
        except ImportError:
            raise UserError("--announce needs the package zeroconf: pip install 'rtserver[announce]'") from None
        local = host in LOOPBACK
        addresses = ["127.0.0.1"] if local else _addresses(host)
        interfaces = addresses if host not in EVERYWHERE else None
        name = f"rtserver {socket.gethostname().split('.')[0]} {port}"
        kinds = ["_osc._udp", "_oscjson._tcp"] if local else ["_osc._udp", "_http._tcp"]
        self._services = [
            ServiceInfo(
                f"{kind}.local.",
                f"{name}.{kind}.local.",
                port=port,
                parsed_addresses=addresses,
                properties={"txtvers": "1", "key": "1" if sealed else "0", "path": "/"},
                server=f"rtserver-{os.getpid()}.local.",
            )
            for kind in kinds
        ]
        self._zeroconf = AsyncZeroconf(interfaces=interfaces or InterfaceChoice.All, ip_version=IPVersion.V4Only)

    async def start(self) -> None:
        """Announce; another server of this name on the network gets its own number."""
        for service in self._services:
            await (await self._zeroconf.async_register_service(service, allow_name_change=True))

    async def stop(self) -> None:
        """Say goodbye."""
        await self._zeroconf.async_unregister_all_services()
        await self._zeroconf.async_close()


def _addresses(host: str) -> list[str]:
    """The IPv4 addresses that clients can reach: the one listened on, or all of this machine's."""
    if host not in EVERYWHERE:
        return [str(ipaddress.ip_address(socket.gethostbyname(host)))]
    import ifaddr

    found = [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if isinstance(ip.ip, str)]
    return [address for address in found if not ipaddress.ip_address(address).is_loopback] or ["127.0.0.1"]
