import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:tls";
import { bearerChallenge } from "../harness/raw-http.ts";
import { RawHttp2 } from "../harness/raw-http2.ts";
import { digestOf, expect, type Lab, type Row } from "./lab.ts";

const basic = (lab: Lab, username: string, password = lab.clients.cluster.adminPassword): Record<string, string> => ({
  authorization: `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`,
});
const form = { "content-type": "application/x-www-form-urlencoded" };

interface Token {
  readonly token: string;
  readonly access_token: string;
  readonly expires_in: number;
  readonly issued_at?: string;
  readonly refresh_token?: string;
}

/** Login, as clients do it (docs/clients.md, Login). */
export const loginRows: readonly Row[] = [
  {
    section: "end-1",
    must: "GET /v2/ with a token is 200, with or without the last slash",
    http2: true,
    async run(lab) {
      for (const path of ["/v2/", "/v2"]) {
        const ping = await lab.bare("GET", path, { headers: { authorization: `Bearer ${lab.token}` } });
        expect(ping, 200);
        assert.equal(ping.headers["docker-distribution-api-version"], "registry/2.0");
      }
    },
  },
  {
    section: "end-1",
    must: "GET /v2/ without a token is 401 with a Bearer challenge and no error in it",
    http2: true,
    async run(lab) {
      for (const path of ["/v2/", "/v2"]) {
        const ping = await lab.bare("GET", path);
        expect(ping, 401, "UNAUTHORIZED");
        const { realm, service, error } = bearerChallenge(ping);
        assert.equal(realm, `${lab.clients.cluster.gateway(lab.way.reader)}/token`);
        assert.equal(service, "meridian.dev");
        assert.equal(error, undefined);
      }
    },
  },
  {
    section: "clients.md, Login",
    must: "the realm is the host that the client used, not what a stranger forwards",
    async run(lab) {
      const headers = { "x-forwarded-host": "evil.example", "x-forwarded-proto": "http" };
      const { realm } = bearerChallenge(await lab.bare("GET", "/v2/", { headers }));
      assert.equal(realm, `${lab.clients.cluster.gateway(lab.way.reader)}/token`);
    },
  },
  {
    section: "RFC 6750 §3.1",
    must: "a token that is none is 401 invalid_token",
    async run(lab) {
      const headers = { authorization: "Bearer nonsense" };
      const refused = await lab.bare("GET", `/v2/${lab.name}/tags/list`, { headers });
      expect(refused, 401, "UNAUTHORIZED");
      assert.equal(bearerChallenge(refused).error, "invalid_token");
    },
  },
  {
    section: "RFC 6750 §3.1",
    must: "a token without the scope is 401 insufficient_scope that names what is needed",
    http2: true,
    async run(lab) {
      const token = await lab.clients.token(lab.way.writer, [`repository:${lab.other}:pull`]);
      const headers = { authorization: `Bearer ${token}` };
      const refused = await lab.bare("GET", `/v2/${lab.name}/tags/list`, { headers });
      expect(refused, 401, "UNAUTHORIZED");
      const { error, scope } = bearerChallenge(refused);
      assert.deepEqual([error, scope], ["insufficient_scope", `repository:${lab.name}:pull`]);
    },
  },
  {
    section: "clients.md, Login",
    must: "a challenge without a token asks for what the request needs",
    async run(lab) {
      const pull = bearerChallenge(await lab.bare("GET", `/v2/${lab.name}/manifests/v1`));
      assert.deepEqual([pull.scope, pull.error], [`repository:${lab.name}:pull`, undefined]);
      const push = bearerChallenge(await lab.bare("POST", `/v2/${lab.name}/blobs/uploads/`));
      assert.equal(push.scope, `repository:${lab.name}:pull,push`);
      const remove = bearerChallenge(await lab.bare("DELETE", `/v2/${lab.name}/manifests/v1`));
      assert.equal(remove.scope, `repository:${lab.name}:delete`);
    },
  },
  {
    section: "clients.md, Login",
    must: "every 401 and 403 names the policy revision",
    async run(lab) {
      for (const path of ["/v2/", `/v2/${lab.name}/tags/list`]) {
        assert.match(String((await lab.bare("GET", path)).headers["meridian-policy-revision"]), /^\d+\.\d+$/);
      }
    },
  },
  {
    section: "docker token protocol",
    must: "GET /token with Basic: token = access_token, at least 300 s, no issued_at",
    http2: true,
    async run(lab) {
      const path = `/token?service=meridian.dev&scope=repository:${lab.name}:pull`;
      const answer = await lab.bare("GET", path, { headers: basic(lab, "admin") });
      expect(answer, 200);
      const { token, access_token, expires_in, issued_at } = answer.json<Token>();
      assert.equal(token, access_token);
      assert.ok(expires_in >= 300);
      assert.equal(issued_at, undefined);
      assert.equal(answer.headers["cache-control"], "no-store");
    },
  },
  {
    section: "docker token protocol",
    must: "POST /token with a password, and again with the refresh token, which does not rotate and holds at every site",
    async run(lab) {
      const login = `grant_type=password&service=meridian.dev&client_id=x&access_type=offline&username=admin&password=${lab.clients.cluster.adminPassword}`;
      const first = await lab.bare("POST", "/token", { headers: form, body: login });
      expect(first, 200);
      const { refresh_token } = first.json<Token>();
      assert.ok(refresh_token);
      const again = `grant_type=refresh_token&service=meridian.dev&client_id=x&refresh_token=${refresh_token}`;
      for (const site of ["eu", "us"]) {
        const answer = await lab.clients.to(site, false).ask("POST", "/token", { headers: form, body: again });
        expect(answer, 200);
        assert.ok([undefined, refresh_token].includes(answer.json<Token>().refresh_token));
      }
    },
  },
  {
    section: "docker token protocol",
    must: "a wrong password is 401, by GET and by POST",
    async run(lab) {
      expect(await lab.bare("GET", "/token?service=meridian.dev", { headers: basic(lab, "admin", "wrong") }), 401);
      const body = "grant_type=password&service=meridian.dev&client_id=x&username=admin&password=wrong";
      expect(await lab.bare("POST", "/token", { headers: form, body }), 401);
    },
  },
  {
    section: "clients.md, Login",
    must: "no scope is valid (docker login), and such a token pings",
    async run(lab) {
      const answer = await lab.bare("GET", "/token?service=meridian.dev&account=admin", {
        headers: basic(lab, "admin"),
      });
      expect(answer, 200);
      const headers = { authorization: `Bearer ${answer.json<Token>().token}` };
      expect(await lab.bare("GET", "/v2/", { headers }), 200);
      expect(await lab.bare("GET", `/v2/${lab.name}/tags/list`, { headers }), 401);
    },
  },
  {
    section: "clients.md, Login",
    must: "scopes repeated, and scopes with spaces between them",
    async run(lab) {
      const [one, two] = [lab.name, lab.other].map((name) => `repository:${name}:pull,push`);
      await lab.pushImage("v1");
      for (const query of [`scope=${one}&scope=${two}`, `scope=${one}%20${two}`]) {
        const path = `/token?service=meridian.dev&${query}`;
        const { token } = (await lab.bare("GET", path, { headers: basic(lab, "admin") })).json<Token>();
        const headers = { authorization: `Bearer ${token}` };
        for (const name of [lab.name, lab.other]) {
          const answer = await lab.write("POST", `/v2/${name}/blobs/uploads/`, { headers });
          expect(answer, 202);
        }
      }
    },
  },
  {
    section: "clients.md, Login",
    must: "without credentials, or with empty ones, a token for what is public: here nothing",
    async run(lab) {
      await lab.pushImage("v1");
      const path = `/token?service=meridian.dev&scope=repository:${lab.name}:pull,push`;
      for (const headers of [{}, basic(lab, "", "")]) {
        const answer = await lab.bare("GET", path, { headers });
        expect(answer, 200);
        const authorization = `Bearer ${answer.json<Token>().token}`;
        const refused = await lab.get("/manifests/v1", { authorization });
        expect(refused, 401, "UNAUTHORIZED");
      }
    },
  },
  {
    section: "clients.md, Login",
    must: "a token of one site is valid at the other",
    async run(lab) {
      await lab.pushImage("v1");
      for (const site of ["eu", "us"]) {
        const token = await lab.clients.token(site, [`repository:${lab.name}:pull`]);
        expect(await lab.get("/manifests/v1", { authorization: `Bearer ${token}` }), 200);
      }
    },
  },
  {
    section: "clients.md, Login",
    must: "the token endpoint answers itself and is never redirected",
    async run(lab) {
      const answer = await lab.bare("GET", "/token?service=meridian.dev", { headers: basic(lab, "admin") });
      assert.equal(answer.headers.location, undefined);
      assert.equal(answer.status, 200);
    },
  },
];

/** Errors, methods, connections, and what this registry adds. */
export const protocolRows: readonly Row[] = [
  {
    section: "Error Codes",
    must: "errors are JSON with a code in capitals, a message, and no-store",
    http2: true,
    async run(lab) {
      for (const path of ["/manifests/v1", "/tags/list", `/blobs/${digestOf("x")}`, "/manifests/sha256:x"]) {
        const refused = await lab.get(path);
        assert.equal(refused.headers["content-type"], "application/json");
        assert.match(String(refused.error?.code), /^[A-Z_]+$/);
        assert.ok(refused.error?.message);
        assert.equal(refused.headers["cache-control"], "no-store");
      }
    },
  },
  {
    section: "RFC 9110 §15.5.6",
    must: "a method that is not possible is 405 UNSUPPORTED and Allow names those that are",
    async run(lab) {
      const refused = await lab.write("PATCH", "/manifests/v1");
      expect(refused, 405, "UNSUPPORTED");
      assert.equal(refused.headers.allow, "GET, HEAD, PUT, DELETE");
      expect(await lab.write("PUT", "/tags/list"), 405, "UNSUPPORTED");
    },
  },
  {
    section: "Endpoints",
    must: "a path that is none is 404",
    async run(lab) {
      for (const path of ["/v1/", "/v2/x", "/v2/a/tags", "/favicon.ico", "/v2/a/blobs/uploads/x/y"]) {
        expect(await lab.bare("GET", path), 404);
      }
    },
  },
  {
    section: "RFC 9110 §15.5.15",
    must: "a query that is too long is 414",
    async run(lab) {
      expect(await lab.get(`/tags/list?last=${"a".repeat(9_000)}`), 414);
    },
  },
  {
    section: "design.md, P11",
    must: "Meridian-Min-Version of a state that this site has is served, a malformed one is 400",
    async run(lab) {
      const { answer } = await lab.pushImage("v1");
      const version = String(answer.headers["meridian-version"]);
      expect(await lab.get("/manifests/v1", { "meridian-min-version": version }), 200);
      expect(await lab.get("/manifests/v1", { "meridian-min-version": "nonsense" }), 400);
    },
  },
  {
    section: "design.md, P12",
    must: "the receipt waits until both sites have the image whole, and names a subject that nobody has",
    async run(lab) {
      const subject = { mediaType: "application/vnd.oci.image.manifest.v1+json", digest: digestOf("none"), size: 4 };
      await lab.pushImage("v1", { subject });
      const receipt = await lab.get("/_meridian/replication/v1?wait=eu,us&timeout=20s");
      expect(receipt, 200);
      const { sites, absent } = receipt.json<{ sites: Array<{ state: string }>; absent: string[] }>();
      assert.deepEqual(
        sites.map(({ state }) => state),
        ["complete", "complete"],
      );
      assert.deepEqual(absent, [subject.digest]);
    },
  },
  {
    section: "design.md, P11",
    must: "the route of a digest is explained",
    async run(lab) {
      const { digest } = await lab.pushImage("v1");
      const route = (await lab.get(`/_meridian/route/${digest}`)).json<{ chosen: string; candidates: unknown[] }>();
      assert.match(route.chosen, /^(eu|us)\//);
      assert.ok(route.candidates.length > 0);
    },
  },
  {
    section: "clients.md, Servers' defaults",
    must: "an early error on a body leaves the connection usable",
    http2: true,
    async run(lab) {
      const body = randomBytes(2_000_000);
      const refused = await lab.bare("PUT", `/v2/${lab.name}/manifests/v1`, { body });
      expect(refused, 401);
      assert.notEqual(refused.headers.connection, "close");
      expect(await lab.get("/tags/list"), 404);
    },
  },
  {
    section: "clients.md, Servers' defaults",
    must: "idle connections are kept for two minutes at least",
    async run(lab) {
      for (const answer of [await lab.bare("GET", "/v2/"), await lab.write("POST", "/blobs/uploads/")]) {
        const [, seconds] = /timeout=(\d+)/.exec(String(answer.headers["keep-alive"])) ?? [];
        assert.ok(Number(seconds) >= 120);
      }
    },
  },
  {
    section: "clients.md, Which site they call",
    must: "the edge's chain leads to the one root, its key is P-256, and it names loopback in every form",
    oneSite: true,
    async run(lab) {
      const { hostname, port } = new URL(lab.clients.cluster.gateway(lab.way.reader));
      const socket = connect({ host: hostname, port: Number(port), ca: lab.clients.cluster.ca });
      await once(socket, "secureConnect");
      assert.ok(socket.authorized);
      const certificate = socket.getPeerX509Certificate()!;
      socket.destroy();
      assert.equal(certificate.publicKey.asymmetricKeyDetails?.namedCurve, "prime256v1");
      assert.ok(certificate.checkHost("localhost"));
      for (const address of ["127.0.0.1", "::1"]) assert.ok(certificate.checkIP(address), address);
    },
  },
  {
    section: "clients.md, Servers' defaults",
    must: "HTTP/2 windows are at least 8 MiB",
    oneSite: true,
    async run(lab) {
      const { gateway, ca } = { gateway: lab.clients.cluster.gateway(lab.way.reader), ca: lab.clients.cluster.ca };
      using client = new RawHttp2(gateway, ca);
      assert.ok(Number((await client.settings()).initialWindowSize) >= 8 * 1024 * 1024);
      // The connection's own window has no setting: it is opened by a frame, which is here once a request is answered.
      await client.ask("GET", "/v2/");
      assert.ok(client.sessionWindow >= 8 * 1024 * 1024, `${client.sessionWindow}`);
    },
  },
  {
    section: "clients.md, Push",
    must: "every answer names the registry API's version, whatever it says",
    http2: true,
    async run(lab) {
      const { digest, answer } = await lab.pushImage("v1");
      const answers = [
        answer,
        await lab.write("POST", "/blobs/uploads/"),
        await lab.head("/manifests/v1"),
        await lab.get(`/manifests/${digest}`, { "if-none-match": `"${digest}"` }),
        await lab.get("/manifests/none"),
        await lab.get("/tags/list"),
        await lab.get(`/referrers/${digest}`),
        await lab.get("/manifests/v1", { authorization: "Bearer none" }),
        await lab.write("PATCH", "/manifests/v1"),
        await lab.write("DELETE", "/manifests/v1"),
      ];
      for (const { status, headers } of answers) {
        assert.equal(headers["docker-distribution-api-version"], "registry/2.0", `of the ${status}`);
      }
    },
  },
  {
    section: "clients.md, Push",
    must: "Location and Link never name a host",
    async run(lab) {
      const { answer } = await lab.pushImage("v1");
      await lab.pushImage("v2");
      const list = await lab.get("/tags/list?n=1");
      assert.match(String(answer.headers.location), /^\/v2\//);
      assert.match(String(list.headers.link), /^<\/v2\//);
      assert.match(await lab.begin(), /^\/v2\//);
    },
  },
];
