export type { Action, Decider, Decision, DecisionContext, Principal, Resource, TokenClaims, TokenVerifier } from "./decision.ts";
