import { Agent, type IncomingHttpHeaders, request } from "node:http";

/** An answer, read to its end. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/**
 * Requests to one origin over kept connections, by node:http: fetch takes several times its CPU, which a measured cluster
 * beside it has not.
 */
export class KeptConnections implements Disposable {
  readonly #origin: string;
  readonly #agent = new Agent({ keepAlive: true });

  constructor(origin: string) {
    this.#origin = origin;
  }

  /** Resolves with any answer. @throws Error when none comes. */
  ask(
    method: string,
    path: string,
    { headers, body }: { headers: Record<string, string>; body?: string },
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const asking = request(this.#origin + path, { method, headers, agent: this.#agent }, (answer) => {
        const parts: Buffer[] = [];
        answer.on("data", (part: Buffer) => parts.push(part));
        answer.on("error", reject);
        answer.on("end", () =>
          resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(parts) }),
        );
      });
      asking.on("error", reject);
      asking.end(body);
    });
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}
