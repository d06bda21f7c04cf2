// One pull scenario: token, manifest by tag, every blob. Works against any registry, with the token protocol or open.
//   k6 run -e REGISTRY=https://127.0.0.1:5001 -e REPOSITORY=demo/app -e TAG=v1 \
//          -e USERNAME=admin -e PASSWORD="$(cat .meridian/admin-password)" benchmarks/k6/pull.js
// Trust: SSL_CERT_FILE=.meridian/ca.pem. VUS and DURATION set the load (5 and 10s); MANIFEST_P99_MS what is too slow (250).
import { check } from "k6";
import http from "k6/http";
import { Trend } from "k6/metrics";
import { authorize, manifestTypes, registry, repository, tag, tokenUrl } from "./token.js";

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

/** One token for the whole run. */
export function setup() {
  return authorize(tokenUrl("pull"));
}

export default function pull(authorization) {
  const headers = { ...authorization, Accept: manifestTypes };
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
