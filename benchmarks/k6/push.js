// Blobs that nobody has yet, pushed by ten clients at once: POST, then PUT with the whole body.
//   k6 run -e REGISTRY=http://127.0.0.1:5001 -e REPOSITORY=demo/app -e PASSWORD="$(cat .meridian/admin-password)" \
//          benchmarks/k6/push.js
// VUS and DURATION set the load (10 and 10s), BYTES the size of each blob (1000000).
import { check } from "k6";
import crypto from "k6/crypto";
import http from "k6/http";
import { Trend } from "k6/metrics";
import { authorize, registry, repository, tokenUrl } from "./token.js";

const pushTime = new Trend("push_blob", true);
const bytes = new Uint8Array(crypto.randomBytes(Number(__ENV.BYTES || 1_000_000)));

export const options = {
  vus: Number(__ENV.VUS || 10),
  duration: __ENV.DURATION || "10s",
  thresholds: { checks: ["rate==1"] },
};

export function setup() {
  return authorize(tokenUrl("pull,push"));
}

export default function push(authorization) {
  // Eight other bytes make another blob.
  bytes.set(new Uint8Array(crypto.randomBytes(8)));
  const digest = `sha256:${crypto.sha256(bytes.buffer, "hex")}`;
  const opened = http.post(`${registry}/v2/${repository}/blobs/uploads/`, null, { headers: authorization });
  if (!check(opened, { "upload is 202": (answer) => answer.status === 202 })) return;
  const { Location } = opened.headers;
  const url = Location.startsWith("/") ? registry + Location : Location;
  const headers = { ...authorization, "Content-Type": "application/octet-stream" };
  const put = http.put(`${url}${url.includes("?") ? "&" : "?"}digest=${digest}`, bytes.buffer, { headers });
  pushTime.add(opened.timings.duration + put.timings.duration);
  check(put, { "blob is 201": (answer) => answer.status === 201 });
}
