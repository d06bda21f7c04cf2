import { loginLimitsSchema } from "@meridian/limits";
import { z } from "zod";
import { parsePasswordHash } from "./phc.ts";

/** The least lifetime of an access token that clients are known to live with (distribution's token specification). */
const MIN_ACCESS_TOKEN_S = 300;

/** Settings of the auth service. */
export const authConfigSchema = z.strictObject({
  /** The cluster's name: the audience of every token. */
  cluster: z.string().min(1),
  /** The site's data folder: the signing key is kept in `auth/signing-key.pem` below it. */
  dataDir: z.string().min(1),
  /**
   * How long an access token is valid, in seconds. Default 900: long enough that a large push renews it rarely, short
   * because policy, not expiry, is what stops a user at once.
   */
  accessTokenLifetimeS: z.int().min(MIN_ACCESS_TOKEN_S).max(86_400).default(900),
  /**
   * How long a refresh token is valid, in seconds. Default 30 days: logins of people and robots outlive a holiday; it ends
   * at once when the user's password changes or the user is disabled or removed.
   */
  refreshTokenLifetimeS: z.int().min(3_600).max(31_536_000).default(2_592_000),
  /** How failed and repeated logins are treated. */
  logins: loginLimitsSchema.prefault({}),
  /** The first administrator. Only read at the policy home, while the policy log has no users. */
  bootstrap: z
    .strictObject({
      /** PHC string of argon2id, as `hashPassword` makes it. */
      adminPasswordHash: z.string().refine(isPasswordHash, "is no PHC string of argon2id"),
    })
    .optional(),
});

/** Parsed settings of the auth service. */
export type AuthConfig = z.output<typeof authConfigSchema>;
/** Settings of the auth service as written, defaults left out. */
export type AuthConfigInput = z.input<typeof authConfigSchema>;

function isPasswordHash(text: string): boolean {
  try {
    parsePasswordHash(text);
    return true;
  } catch {
    return false;
  }
}
