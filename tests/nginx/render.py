"""Render a simulated configuration as nginx.conf: servers, ordered locations, rewrites, redirects.

Follows rootfs/etc/nginx/template/nginx.tmpl of ingress-nginx controller-v1.15.1 as far as it needs no
Lua: redirects to https, canaries and balancing are left out.
"""

import re

from flowd.parity.nginx.servers import CATCH_ALL, EXACT, Configuration, Location, NginxServer

HEAD = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  large_client_header_buffers 4 8k;
  client_max_body_size 1m;
  server_names_hash_bucket_size 128;
  proxy_set_header Host $http_host;
  proxy_http_version 1.1;
"""


def nginx_conf(configuration: Configuration, folder: str, port: int, backend: int) -> str:
    """The whole file.

    Args:
        folder: where nginx writes.
        port: of the servers, on loopback.
        backend: port of the backend, on loopback.
    """
    servers = "".join(_server(server, port, backend) for server in configuration.servers.values())
    return HEAD.format(folder=folder) + servers + "}\n"


def _server(server: NginxServer, port: int, backend: int) -> str:
    default = " default_server" if server.host == CATCH_ALL else ""
    names = " ".join(map(_name, [server.host, *server.aliases]))
    if server.redirect_to:
        body = f"    return 308 $scheme://{server.redirect_to}:80$request_uri;\n"
    else:
        root = next(
            (e.annotations.app_root for e in server.locations if e.annotations.app_root), ""
        )
        body = f"    if ($uri = /) {{ return 302 $scheme://$http_host{root}; }}\n" if root else ""
        body += "".join(_location(entry, server.regex, backend) for entry in server.locations)
        if server.host == CATCH_ALL:
            body += '    location /healthz { return 200 "ok"; }\n'
    return f"  server {{\n    listen 127.0.0.1:{port}{default};\n    server_name {names};\n{body}  }}\n"


def _name(host: str) -> str:
    if host.startswith("*."):
        return f'"~^(?<subdomain>[\\w-]+)\\.{re.escape(host[2:])}$"'
    return host


def _location(location: Location, regex: bool, backend: int) -> str:
    path = location.path.replace('"', '\\"')
    modifier = (
        f'~* "^{path}"' if regex else f'= "{path}"' if location.path_type == EXACT else f'"{path}"'
    )
    annotations = location.annotations
    lines: list[str] = []
    if annotations.body_bytes is not None:
        lines.append(f"client_max_body_size {annotations.body_bytes};")
    if annotations.temporal_redirect:
        lines.append(f"return {annotations.temporal_code} {annotations.temporal_redirect};")
    elif annotations.permanent_redirect:
        lines.append(f"return {annotations.permanent_code} {annotations.permanent_redirect};")
    if location.upstream is None:
        lines.append("return 404;")
    else:
        if location.rewrites:
            lines.append(f'rewrite "(?i){path}" {annotations.rewrite_target} break;')
        lines.append(f'proxy_set_header X-Backend "{location.upstream.backend}";')
        lines.append(f"proxy_pass http://127.0.0.1:{backend};")
    return (
        f"    location {modifier} {{\n" + "".join(f"      {line}\n" for line in lines) + "    }\n"
    )
