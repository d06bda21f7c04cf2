export { type GatewayConfig, gatewayConfigSchema } from "./config.ts";
export { type Gateway, type GatewayDeps, startGateway } from "./service.ts";
