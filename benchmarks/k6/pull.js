// One pull scenario: token, manifest by tag, every blob. Works against any registry that speaks the token protocol.
//   k6 run -e REGISTRY=https://127.0.0.1:5001 -e REPOSITORY=demo/app -e TAG=v1 \
//          -e USERNAME=admin -e PASSWORD="$(cat .meridian/admin-password)" benchmarks/k6/pull.js
// Trust: SSL_CERT_FILE=.meridian/ca.pem. VUS and DURATION set the load (5 and 10s); MANIFEST_P99_MS what is too slow (250).
import { check, fail } from "k6";
import encoding from "k6/encoding";
import http from "k6/http";
import { Trend } from "k6/metrics";

const registry = __ENV.REGISTRY || "https://127.0.0.1:5001";
const repository = __ENV.REPOSITORY || "demo/app";
const tag = __ENV.TAG || "v1";
const basic = `Basic ${encoding.b64encode(`${__ENV.USERNAME || "admin"}:${__ENV.PASSWORD || ""}`)}`;

const manifestTypes =
  "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

const manifestTime = new Trend("pull_manifest", true);
const blobTime = new Trend("pull_blob", true);

export const options = {
  vus: Number(__ENV.VUS || 5),
  duration: __ENV.DURATION || "10s",
  thresholds: {
    checks: ["rate==1"],
    pull_manifest: [`p(99)<${Number(__ENV.MANIFEST_P99_MS || 250)}`],
  },
};

/** One token for the whole run, fetched as the registry's challenge says. */
export function setup() {
  // The challenge is a 401 by design: it must not count as a failed request.
  const ping = http.get(`${registry}/v2/`, { responseCallback: http.expectedStatuses(200, 401) });
  const challenge = ping.headers["Www-Authenticate"] || "";
  const part = (name) => (challenge.match(new RegExp(`${name}="([^"]*)"`)) || [])[1] || "";
  if (part("realm") === "") fail(`${registry} sends no Bearer challenge: ${challenge}`);
  const scope = encodeURIComponent(`repository:${repository}:pull`);
  const answer = http.get(`${part("realm")}?service=${encodeURIComponent(part("service"))}&scope=${scope}`, {
    headers: { Authorization: basic },
  });
  if (answer.status !== 200) fail(`no token: ${answer.status} ${answer.body}`);
  return { token: answer.json("token") };
}

export default function pull({ token }) {
  const headers = { Authorization: `Bearer ${token}`, Accept: manifestTypes };
  const manifest = http.get(`${registry}/v2/${repository}/manifests/${tag}`, { headers });
  manifestTime.add(manifest.timings.duration);
  if (!check(manifest, { "manifest is 200": (answer) => answer.status === 200 })) return;
  const { config, layers } = manifest.json();
  for (const { digest, size } of [config, ...layers]) {
    const blob = http.get(`${registry}/v2/${repository}/blobs/${digest}`, { headers, responseType: "binary" });
    blobTime.add(blob.timings.duration);
    check(blob, {
      "blob is 200": (answer) => answer.status === 200,
      "blob is whole": (answer) => answer.body !== null && answer.body.byteLength === size,
    });
  }
}
