import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  type ServerWritableStream,
  type ServiceDefinition,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";

/** HealthCheckResponse.ServingStatus of grpc/health/v1/health.proto. */
const SERVING = 1;
const NOT_SERVING = 2;
const SERVICE_UNKNOWN = 3;

/** grpc.health.v1.Health of one process (https://github.com/grpc/grpc/blob/master/doc/health-checking.md). */
export interface HealthService {
  readonly definition: ServiceDefinition;
  readonly handlers: UntypedServiceImplementation;
  /** Makes a service known, with the state of the process. */
  add(service: string): void;
  /** The state of the process and of all its services; watchers are told. */
  serving(value: boolean): void;
  /** Not serving from now on, and ends all watches. */
  stop(): void;
}

/** HealthCheckRequest. An object, because grpc-js takes a falsy message for none at all. */
interface CheckRequest {
  readonly service: string;
}

type Watch = ServerWritableStream<CheckRequest, number>;

/** Starts as not serving. Its two messages have one field each, so they are read and written by hand here. */
export function createHealthService(): HealthService {
  const services = new Set([""]);
  const watches = new Set<Watch>();
  let stopped = false;
  let state = NOT_SERVING;
  const stateOf = (service: string): number => (services.has(service) ? state : SERVICE_UNKNOWN);
  const tell = (affected: (watch: Watch) => boolean): void => {
    for (const watch of watches) if (affected(watch)) watch.write(stateOf(watch.request.service));
  };

  const check: handleUnaryCall<CheckRequest, number> = (call, callback) => {
    if (services.has(call.request.service)) callback(null, state);
    else callback({ code: status.NOT_FOUND, details: "unknown service", metadata: new Metadata() });
  };
  const watch: handleServerStreamingCall<CheckRequest, number> = (call) => {
    call.write(stateOf(call.request.service));
    if (stopped) {
      call.end();
      return;
    }
    watches.add(call);
    call.once("cancelled", () => watches.delete(call));
  };
  const serving = (value: boolean): void => {
    const next = value && !stopped ? SERVING : NOT_SERVING;
    if (next === state) return;
    state = next;
    tell((watch) => services.has(watch.request.service));
  };

  return {
    definition: DEFINITION,
    handlers: { check, watch } as UntypedServiceImplementation,
    add(service) {
      services.add(service);
      tell((watch) => watch.request.service === service);
    },
    serving,
    stop() {
      stopped = true;
      serving(false);
      for (const watch of watches) watch.end();
      watches.clear();
    },
  };
}

const codecs = {
  requestSerialize: ({ service }: CheckRequest): Buffer =>
    Buffer.from(new BinaryWriter().tag(1, WireType.LengthDelimited).string(service).finish()),
  requestDeserialize: readService,
  responseSerialize: (state: number): Buffer =>
    Buffer.from(new BinaryWriter().tag(1, WireType.Varint).int32(state).finish()),
  responseDeserialize: readState,
};

const DEFINITION: ServiceDefinition = {
  check: { path: "/grpc.health.v1.Health/Check", requestStream: false, responseStream: false, ...codecs },
  watch: { path: "/grpc.health.v1.Health/Watch", requestStream: false, responseStream: true, ...codecs },
};

/** HealthCheckRequest { string service = 1; } */
function readService(bytes: Buffer): CheckRequest {
  const reader = new BinaryReader(bytes);
  let service = "";
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === 1 && type === WireType.LengthDelimited) service = reader.string();
    else reader.skip(type, field);
  }
  return { service };
}

/** HealthCheckResponse { ServingStatus status = 1; } */
function readState(bytes: Buffer): number {
  const reader = new BinaryReader(bytes);
  let state = 0;
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === 1 && type === WireType.Varint) state = reader.int32();
    else reader.skip(type, field);
  }
  return state;
}
