import { once } from "node:events";
import { connect } from "node:net";

const CONNECTIONS = 16;
const AT_ONCE = 16;

/**
 * Asks for random ones of the paths by HEAD, many at once on each connection, for so long; wrk cannot. Resolves with the
 * answers a second. @throws Error unless every answer is 200.
 */
export async function headsPerSecond(
  origin: string,
  authorization: string,
  { paths, seconds }: { paths: readonly string[]; seconds: number },
): Promise<number> {
  const { host, hostname, port } = new URL(origin);
  const texts = paths.map(
    (path) => `HEAD ${path} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: ${authorization}\r\n\r\n`,
  );
  const end = performance.now() + seconds * 1_000;
  const one = (): Promise<number> => onOneConnection(texts, { hostname, port: Number(port), end });
  const started = performance.now();
  const counts = await Promise.all(Array.from({ length: CONNECTIONS }, one));
  return (counts.reduce((sum, count) => sum + count, 0) * 1_000) / (performance.now() - started);
}

async function onOneConnection(
  texts: readonly string[],
  { hostname, port, end }: { hostname: string; port: number; end: number },
): Promise<number> {
  await using socket = connect(port, hostname).setNoDelay();
  await once(socket, "connect");
  let answered = 0;
  while (performance.now() < end) {
    const batch = Array.from({ length: AT_ONCE }, () => texts[Math.floor(Math.random() * texts.length)]);
    socket.write(batch.join(""));
    let text = "";
    while (text.split("\r\n\r\n").length <= AT_ONCE) text += (await once(socket, "data")).toString();
    const good = text.match(/HTTP\/1.1 200 /g)?.length ?? 0;
    if (good !== AT_ONCE) throw new Error(`an answer other than 200:\n${text.slice(0, 2_000)}`);
    answered += good;
  }
  return answered;
}
