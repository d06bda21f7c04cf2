import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePorts } from "@meridian/test/harness";
import { type Content, type Fixture, type Peer, type ReadTarget, withChildren } from "./peer.ts";
import { Program } from "./program.ts";

/** An nginx that serves the bytes as static files: the yardstick of the reads. */
export class StaticNginx implements Peer {
  readonly name = "nginx";
  readonly #program: Program;
  readonly #ports: { readonly plain: number; readonly secure: number };

  private constructor(program: Program, ports: { plain: number; secure: number }) {
    this.#program = program;
    this.#ports = ports;
  }

  /** One worker; `tls`: PEM files of the certificate that it serves with. */
  static async start(fixture: Fixture, tls: { readonly cert: string; readonly key: string }): Promise<StaticNginx> {
    const program = new Program("nginx");
    const root = join(program.folder, "files");
    mkdirSync(root);
    for (const name of ["manifest", "small", "large"] as const) writeFileSync(join(root, name), fixture[name]);
    const [plain = 0, secure = 0] = await freePorts(2);
    const config = join(program.folder, "nginx.conf");
    writeFileSync(config, nginxConfig(root, { plain, secure }, tls));
    const errors = join(program.folder, "error.log");
    await program.start("nginx", ["-p", program.folder, "-c", config, "-e", errors, "-g", "daemon off;"], plain);
    return new StaticNginx(program, { plain, secure });
  }

  pids(): readonly number[] {
    return withChildren(this.#program.pid);
  }

  read(content: Content, secure: boolean): ReadTarget {
    const origin = secure ? `https://127.0.0.1:${this.#ports.secure}` : `http://127.0.0.1:${this.#ports.plain}`;
    return { url: `${origin}/${content}`, headers: {} };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#program[Symbol.asyncDispose]();
  }
}

function nginxConfig(
  root: string,
  ports: { plain: number; secure: number },
  tls: { readonly cert: string; readonly key: string },
): string {
  return `user root;
worker_processes 1;
pid nginx.pid;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  open_file_cache max=1000;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  default_type application/octet-stream;
  ssl_certificate ${tls.cert};
  ssl_certificate_key ${tls.key};
  ssl_protocols TLSv1.2 TLSv1.3;
  server {
    listen 127.0.0.1:${ports.plain};
    listen 127.0.0.1:${ports.secure} ssl http2;
    root ${root};
  }
}
`;
}
