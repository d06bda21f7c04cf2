// A client that was just started: a new connection, a token, a manifest by tag; nothing is kept for the next one.
//   k6 run -e REGISTRY=http://127.0.0.1:5001 -e REPOSITORY=demo/app -e PASSWORD="$(cat .meridian/admin-password)" \
//          benchmarks/k6/first-pull.js
// VUS and DURATION set the load (10 and 10s).
import { check } from "k6";
import http from "k6/http";
import { authorize, manifestTypes, registry, repository, tag, tokenUrl } from "./token.js";

export const options = {
  vus: Number(__ENV.VUS || 10),
  duration: __ENV.DURATION || "10s",
  noVUConnectionReuse: true,
  thresholds: { checks: ["rate==1"] },
};

export function setup() {
  return { url: tokenUrl("pull") };
}

export default function firstPull({ url }) {
  const headers = { ...authorize(url), Accept: manifestTypes };
  const manifest = http.get(`${registry}/v2/${repository}/manifests/${tag}`, { headers });
  check(manifest, { "manifest is 200": (answer) => answer.status === 200 });
}
