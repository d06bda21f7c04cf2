import assert from "node:assert/strict";
import { DevProcess } from "../harness/dev-process.ts";
import { OtlpReceiver, type ReceivedSpan } from "../harness/otlp-receiver.ts";
import { ToolBox } from "../harness/tool-box.ts";
import { until } from "../harness/until.ts";

/**
 * What the tests of one client are given: a cluster of three sites, a place for the client's things, and what the
 * gateways tell of the requests that came in.
 */
export class Lab implements AsyncDisposable {
  readonly cluster: DevProcess;
  readonly tools: ToolBox;
  readonly #receiver: OtlpReceiver;

  private constructor(cluster: DevProcess, receiver: OtlpReceiver) {
    this.cluster = cluster;
    this.tools = new ToolBox(cluster);
    this.#receiver = receiver;
  }

  static async open(): Promise<Lab> {
    const receiver = await OtlpReceiver.start();
    try {
      return new Lab(await DevProcess.start("--otlp", receiver.url), receiver);
    } catch (error) {
      await receiver[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Spans of requests of that name ("push.blob", "get.upload" …) about a repository, as the gateways sent them so far. */
  requests(name: string, repository: string): ReceivedSpan[] {
    return this.#receiver.spans.filter(
      (span) => span.name === name && span.attributes["meridian.repository"] === repository,
    );
  }

  /** Waits until gateways told that a repository got so many blobs by mounts, and so many by uploads in two steps. */
  async mounted(repository: string, mounts: number, uploads = 0): Promise<void> {
    await until(`${mounts} mounts into ${repository} are told`, () => {
      const pushes = this.requests("push.blob", repository);
      const ids = new Set(pushes.map(({ spanId }) => spanId));
      const taken = this.#receiver.spans.filter((span) => span.name === "mount.blob" && ids.has(span.parentSpanId));
      const put = pushes.filter((span) => span.attributes["http.request.method"] === "PUT");
      assert.deepEqual({ mounts: taken.length, uploads: put.length }, { mounts, uploads });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.tools[Symbol.dispose]();
    await this.cluster[Symbol.asyncDispose]();
    await this.#receiver[Symbol.asyncDispose]();
  }
}

export const SITES = ["eu", "us", "ap"] as const;

/** A site's gateway as a client names a registry: host and port. */
export function registry({ cluster }: Lab, site: string): string {
  return new URL(cluster.gateway(site)).host;
}

/**
 * A long-lived token in place of a password, as `docker login` keeps it (`identitytoken` in config.json): clients buy
 * access tokens with it by POST (distribution, "Oauth2 Token Authentication").
 */
export async function identityToken({ cluster }: Lab, site: string): Promise<string> {
  const answer = await cluster.at(site).call("/token?service=meridian.dev&client_id=docker&offline_token=true", {
    headers: { authorization: `Basic ${Buffer.from(`admin:${cluster.adminPassword}`).toString("base64")}` },
  });
  assert.equal(answer.status, 200, answer.body.toString());
  return (JSON.parse(answer.body.toString()) as { refresh_token: string }).refresh_token;
}

/** For `{ skip }` of what a user without rights can do only with a set-up of the machine: subordinate ids, mounts. */
export function needsRoot(): string | false {
  if (process.getuid?.() === 0) return false;
  if (process.env.MERIDIAN_REQUIRE === "all") throw new Error("needs root");
  return "needs root";
}
