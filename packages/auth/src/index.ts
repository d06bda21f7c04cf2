export { type AuthConfig, type AuthConfigInput, authConfigSchema } from "./config.ts";
export { hashPassword, verifyPassword } from "./password.ts";
export { type Auth, type AuthDeps, startAuth } from "./service.ts";
