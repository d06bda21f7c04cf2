export type { CallContext, CallOptions, MethodsOf, ServiceClient, ServiceImpl } from "./service.ts";
