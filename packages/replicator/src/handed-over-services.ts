import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import type { Peers } from "@meridian/cluster";
import type { Lease } from "@meridian/eventlog";
import { ContentError } from "@meridian/oci";
import type { CallContext, CallOptions, RpcServer, ServiceImpl } from "@meridian/rpc";
import type { PeerIdentity } from "@meridian/runtime";

const LONGEST_CALL_MS = 600_000;

type Handler = (request: unknown, context: CallContext) => Promise<unknown>;

/** What {@link HandedOverServices} needs. */
export interface HandedOverServicesOptions {
  readonly rpc: Pick<RpcServer, "register">;
  readonly peers: Peers;
  /** Says who does the work; absent: this process, always. */
  readonly duty: Pick<Lease, "holder"> | undefined;
}

/**
 * Services that only the replicator can serve that does its site's work: whichever of them is called, that one answers.
 * They are offered from the start, and handed their implementation when the work comes to this process.
 */
export class HandedOverServices implements Pick<RpcServer, "register"> {
  readonly #options: HandedOverServicesOptions;
  readonly #impls = new Map<string, Record<string, Handler>>();

  constructor(options: HandedOverServicesOptions) {
    this.#options = options;
  }

  /** Offers a service of unary methods. To be called before the server listens. */
  offer<M extends GenServiceMethods>(
    service: GenService<M>,
    allow: (peer: PeerIdentity, method: string) => boolean,
  ): void {
    const methods = service.methods.map(({ localName }): [string, Handler] => [
      localName,
      (request, context) => this.#call(service, localName, request, context),
    ]);
    const impl = Object.fromEntries(methods) as unknown as ServiceImpl<GenService<M>>;
    this.#options.rpc.register(service, impl, { allow });
  }

  /** Answers calls of an offered service from now on. */
  register<M extends GenServiceMethods>(service: GenService<M>, impl: ServiceImpl<GenService<M>>): void {
    this.#impls.set(service.typeName, impl as unknown as Record<string, Handler>);
  }

  /** The work has gone to another process. */
  clear(): void {
    this.#impls.clear();
  }

  async #call<M extends GenServiceMethods>(
    service: GenService<M>,
    method: string,
    request: unknown,
    context: CallContext,
  ): Promise<unknown> {
    const impl = this.#impls.get(service.typeName);
    if (impl !== undefined) return await impl[method]!(request, context);
    const { duty, peers } = this.#options;
    const { site, process } = peers.topology;
    const address = duty?.holder === undefined ? undefined : peers.process(site, duty.holder);
    // Passed on once: two that each take the other for the one at work do not call for ever.
    const passedOn = context.peer?.site === site && context.peer.service === "replicator";
    if (address === undefined || address.process === process || passedOn)
      throw new ContentError("unavailable", `no replicator of site ${site} is at work at the moment`);
    const client = peers.client(service, address) as unknown as Record<string, Handler>;
    // The caller's deadline is in its signal.
    const options: CallOptions = { signal: context.signal, timeoutMs: LONGEST_CALL_MS };
    return await client[method]!(request, options as unknown as CallContext);
  }
}
