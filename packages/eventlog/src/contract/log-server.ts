import { after, before } from "node:test";
import type { Clock } from "@meridian/runtime";
import type { EventLogs } from "../event-log.ts";

/** A place where logs are kept, that tests may break. */
export interface LogServer extends AsyncDisposable {
  /** Opens the logs of site `eu`. Where several processes cannot share the store, one that is open is disposed first. */
  connect(writer: string, options?: { clock?: Clock }): Promise<EventLogs>;
  /** Ends the server without letting it tidy up, runs `whileStopped` on its folder, and starts it again. */
  restart(whileStopped?: (folder: string) => Promise<void>): Promise<void>;
}

/** What drivers differ in. */
export interface LogCapabilities {
  /** Several EventLogs share one store, as processes of a site do. */
  readonly shared: boolean;
  /** EventLogs live on when the store restarts. */
  readonly reconnects: boolean;
}

/** A server for all tests of the group that calls this. */
export function useServer(make: () => Promise<LogServer>): { readonly server: LogServer } {
  let server: LogServer | undefined;
  before(async () => {
    server = await make();
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
  });
  return {
    get server() {
      if (server === undefined) {
        throw new Error("the server is there in tests, not before");
      }
      return server;
    },
  };
}
