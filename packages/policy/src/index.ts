export { type AnonymousAccess, GrantDecider } from "./decider.ts";
export type {
  Action,
  Decider,
  Decision,
  DecisionContext,
  Principal,
  Resource,
  TokenClaims,
  TokenVerifier,
} from "./decision.ts";
export {
  grantKey,
  memberKey,
  type PolicyDoc,
  repositorySettingsKey,
  SETTINGS_KEY,
  signingKeyKey,
  userKey,
} from "./entry-key.ts";
export { GenerationCache } from "./generation-cache.ts";
export { type Exclusion, isMember, type Membership, membershipOf, membershipToWire } from "./membership.ts";
export { openPolicy, type Policy, type PolicyChange, type PolicyOptions } from "./policy.ts";
export type { ProposeOutcome } from "./policy-home.ts";
export type { PolicyLogClient } from "./policy-member.ts";
export { formatRevision, type Position } from "./position.ts";
export {
  isRestricted,
  mayHold,
  mayMount,
  type PlacementSettings,
  placementAt,
  type SitePlacement,
} from "./repository-placement.ts";
export {
  changedSettings,
  describeSetting,
  describeSettings,
  SETTING_NAMES,
  type SettingName,
} from "./repository-settings.ts";
export { type RepositorySettings, RepositorySettingsTable, type SettingInForce } from "./repository-settings-table.ts";
export { PolicyState } from "./state.ts";
export { beginTagMove, endTagMove, tagDeciders } from "./tag-home-move.ts";
export type { PolicyTiming } from "./timing.ts";
export { type CheckedToken, checkToken } from "./token-check.ts";
export { type AccessItem, createTokenSigner, type TokenSigner } from "./token-signer.ts";
export { createTokenVerifier, type SyncTokenVerifier } from "./token-verifier.ts";
