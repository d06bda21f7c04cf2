export { RequestQueue } from "./request-queue.ts";
export { createRpcChannel, type RpcChannel, type RpcChannelOptions } from "./rpc-channel.ts";
export { createRpcServer, type RegisterOptions, type RpcServer, type RpcServerOptions } from "./rpc-server.ts";
export type { CallContext, CallOptions, MethodsOf, ServiceClient, ServiceImpl } from "./service.ts";
