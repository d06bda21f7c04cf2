import { fail } from "k6";
import encoding from "k6/encoding";
import http from "k6/http";

/** Where and as whom: what every scenario here is told by `-e`. */
export const registry = __ENV.REGISTRY || "https://127.0.0.1:5001";
export const repository = __ENV.REPOSITORY || "demo/app";
export const tag = __ENV.TAG || "v1";
export const manifestTypes =
  "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

const basic = `Basic ${encoding.b64encode(`${__ENV.USERNAME || "admin"}:${__ENV.PASSWORD || ""}`)}`;

/** The URL that the registry's challenge sends clients to for these actions; undefined for one that lets everybody in. */
export function tokenUrl(actions) {
  // The challenge is a 401 by design: it must not count as a failed request.
  const ping = http.get(`${registry}/v2/`, { responseCallback: http.expectedStatuses(200, 401) });
  if (ping.status === 200) return undefined;
  const challenge = ping.headers["Www-Authenticate"] || "";
  const part = (name) => (challenge.match(new RegExp(`${name}="([^"]*)"`)) || [])[1] || "";
  if (part("realm") === "") fail(`${registry} sends no Bearer challenge: ${challenge}`);
  const scope = encodeURIComponent(`repository:${repository}:${actions}`);
  return `${part("realm")}?service=${encodeURIComponent(part("service"))}&scope=${scope}`;
}

/** The headers that carry a new token; none without a URL to get it from. */
export function authorize(url) {
  if (url === undefined || url === null) return {};
  const answer = http.get(url, { headers: { Authorization: basic } });
  if (answer.status !== 200) fail(`no token: ${answer.status} ${answer.body}`);
  return { Authorization: `Bearer ${answer.json("token")}` };
}
