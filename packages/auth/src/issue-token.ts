import { createHash } from "node:crypto";
import { ContentError, ContentErrorKind } from "@meridian/oci";
import { checkToken, type Policy, type Principal, type TokenSigner } from "@meridian/policy";
import type { CallContext } from "@meridian/rpc";
import type { Clock, Logger } from "@meridian/runtime";
import type { authV1 } from "@meridian/wire";
import type { AuthConfig } from "./config.ts";
import type { CredentialChecker } from "./credential-checker.ts";
import { grantedAccess } from "./granted-access.ts";
import { parseScopes } from "./scope.ts";
import { type LoginWay, loginRefused, tokenIssued } from "./telemetry.ts";

/** What {@link issueToken} needs. */
export interface IssueTokenParts {
  readonly policy: Policy;
  readonly config: AuthConfig;
  readonly credentials: CredentialChecker;
  /** Undefined while the site's key is not effective. */
  readonly signer: () => TokenSigner | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Login {
  readonly way: LoginWay;
  readonly principal: Principal;
}

/**
 * Issues an access token for what the caller may do of what it asks, and a refresh token when it asks for one.
 * @throws ContentError `denied` for a wrong password or refresh token, `invalid` for a malformed scope, `unavailable`
 * while this site cannot sign.
 */
export async function issueToken(
  request: authV1.IssueTokenRequest,
  context: CallContext,
  parts: IssueTokenParts,
): Promise<{ token: string; expiresIn: number; refreshToken: string }> {
  const { policy, config } = parts;
  const scopes = parseScopes(request.scopes);
  requirePolicy(policy);
  const { principal, way } = await authenticate(request, context, parts);
  const signer = requireSigner(parts);
  const access = grantedAccess(principal, scopes, policy.decider, {
    site: policy.site,
    clientAddress: request.clientAddress,
  });
  const subject = principal.name ?? "";
  const lifetimeS = config.accessTokenLifetimeS;
  tokenIssued(parts.log, { user: principal.name, way, address: request.clientAddress });
  return {
    token: signer.access({ subject, access, lifetimeS }),
    expiresIn: lifetimeS,
    refreshToken: refreshTokenFor(request, way, principal, signer, parts),
  };
}

async function authenticate(
  request: authV1.IssueTokenRequest,
  { signal }: CallContext,
  parts: IssueTokenParts,
): Promise<Login> {
  if (request.refreshToken !== "") return byRefreshToken(request, parts);
  const { username = "", password = "" } = request.credentials ?? {};
  if (username === "" && password === "") return { way: "anonymous", principal: { name: undefined } };
  const address = request.clientAddress;
  if (!(await parts.credentials.check({ username, password, address }, { signal }))) {
    loginRefused(parts.log, { user: username, way: "password", address });
    throw new ContentError(ContentErrorKind.denied, "the user name or password is wrong");
  }
  return { way: "password", principal: { name: username } };
}

function byRefreshToken(request: authV1.IssueTokenRequest, { policy, config, clock, log }: IssueTokenParts): Login {
  const checked = checkToken(request.refreshToken, {
    type: "refresh+jwt",
    state: policy.state,
    audience: config.cluster,
    nowMs: clock.now(),
  });
  const user = checked && policy.state.users.get(checked.subject);
  if (!user || checked.jwt.payload.pwf !== passwordFingerprint(user.passwordHash)) {
    loginRefused(log, { user: checked?.subject, way: "refresh", address: request.clientAddress });
    throw new ContentError(ContentErrorKind.denied, "the refresh token is not valid any more: log in again");
  }
  return { way: "refresh", principal: { name: user.name } };
}

/** Refresh tokens do not rotate: who used one gets it back. */
function refreshTokenFor(
  request: authV1.IssueTokenRequest,
  way: LoginWay,
  { name }: Principal,
  signer: TokenSigner,
  { policy, config }: IssueTokenParts,
): string {
  if (way === "refresh") return request.refreshToken;
  const user = name === undefined ? undefined : policy.state.users.get(name);
  if (!request.offlineToken || !user) return "";
  const fingerprint = passwordFingerprint(user.passwordHash);
  return signer.refresh({ subject: user.name, fingerprint, lifetimeS: config.refreshTokenLifetimeS });
}

/** Binds a refresh token to a password: the hash is salted, so each setting of a password has another one. */
function passwordFingerprint(passwordHash: string): string {
  return createHash("sha256").update("meridian refresh token\0").update(passwordHash).digest("base64url").slice(0, 22);
}

function requirePolicy(policy: Policy): void {
  if (policy.expired)
    throw new ContentError(
      ContentErrorKind.unavailable,
      `the policy known at ${policy.site} (${policy.state.revision}) is too old to issue tokens by: its home ${policy.home} was not heard of`,
    );
}

function requireSigner({ policy, signer }: IssueTokenParts): TokenSigner {
  const ready = signer();
  if (!ready)
    throw new ContentError(
      ContentErrorKind.unavailable,
      `${policy.site} cannot issue tokens yet: its signing key is not in effect, the policy home ${policy.home} has to accept it`,
    );
  return ready;
}
