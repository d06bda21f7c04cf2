import { create } from "@bufbuild/protobuf";
import { ContentError, ContentErrorKind } from "@meridian/oci";
import { userKey } from "@meridian/policy";
import type { CallContext } from "@meridian/rpc";
import { type authV1, policyV1 } from "@meridian/wire";
import { type AdministrationParts, change, requireAdministrator, requireOtherAdministrator } from "./administrator.ts";
import { hashPassword } from "./password.ts";

const NAME = /^[a-z0-9]+(?:[._-][a-z0-9]+)*$/;
const MAX_NAME_LENGTH = 64;
const MIN_PASSWORD_LENGTH = 8;
const MAX_PASSWORD_BYTES = 1_024;

/** Makes a user or changes one; an empty password keeps the one it has. Answers when it is effective. */
export async function putUser(
  request: authV1.PutUserRequest,
  context: CallContext,
  parts: AdministrationParts,
): Promise<{ revision: string }> {
  const who = requireAdministrator(request.token, parts);
  const { name, password, disabled } = request;
  requireUserName(name);
  const { state } = parts.policy;
  const key = userKey(name);
  const baseRev = state.revisionOf(key);
  const known = state.users.get(name);
  if (known && password === "" && known.disabled === disabled) return { revision: state.revision };
  if (disabled) requireOtherAdministrator(name, state);
  const passwordHash = await passwordHashFor(password, known);
  const value = create(policyV1.UserSchema, { name, passwordHash, disabled });
  return change(`user ${name}`, { key, doc: { case: "user", value }, baseRev, who }, parts, context);
}

/** @throws ContentError `invalid` when a user cannot have this name. */
export function requireUserName(name: string): void {
  if (name.length > MAX_NAME_LENGTH || !NAME.test(name))
    throw new ContentError(
      ContentErrorKind.invalid,
      `"${name.slice(0, 80)}" cannot be a user's name: lower-case letters and digits, separated by single ".", "_" or "-", at most ${MAX_NAME_LENGTH}`,
    );
}

async function passwordHashFor(password: string, known: policyV1.User | undefined): Promise<string> {
  if (password === "") {
    if (known) return known.passwordHash;
    throw new ContentError(ContentErrorKind.invalid, "a new user needs a password");
  }
  if ([...password].length < MIN_PASSWORD_LENGTH)
    throw new ContentError(ContentErrorKind.invalid, `a password has at least ${MIN_PASSWORD_LENGTH} characters`);
  if (Buffer.byteLength(password) > MAX_PASSWORD_BYTES)
    throw new ContentError(ContentErrorKind.invalid, `a password has at most ${MAX_PASSWORD_BYTES} bytes`);
  return hashPassword(password);
}
