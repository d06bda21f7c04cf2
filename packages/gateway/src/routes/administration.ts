import { z } from "zod";
import { type AdministrationParts, administer, CHANGE_TIMEOUT_MS } from "../administer.ts";
import type { ResourceHandlers } from "../handler.ts";
import { readJson } from "../json-body.ts";

/** Absent fields stay as they are. */
const userSchema = z.strictObject({
  password: z.string().min(8).max(1024).optional(),
  disabled: z.boolean().optional(),
});
const grantSchema = z.strictObject({
  /** A user's name, or "*" for everybody, with login or without. */
  principal: z.string().min(1).max(255),
  /** Empty for every repository. */
  repositoryPrefix: z.string().max(255),
  /** Empty takes the grant away. */
  role: z.enum(["pull", "push", "admin", ""]),
});

/** `GET /v2/_meridian/users`: users and what they may do. */
export function usersRoute(parts: AdministrationParts): ResourceHandlers {
  return {
    GET: (exchange) =>
      administer(exchange, parts, async (auth, token) => {
        const { users, revision } = await auth.listUsers({ token });
        return {
          revision,
          users: users.map(({ name, disabled, grants }) => ({
            name,
            disabled,
            grants: grants.map(({ repositoryPrefix, role }) => ({ repositoryPrefix, role })),
          })),
        };
      }),
  };
}

/** `PUT|DELETE /v2/_meridian/users/<name>`: answered once the change is effective, with the policy's revision. */
export function userRoute(parts: AdministrationParts): ResourceHandlers {
  return {
    PUT: async (exchange, { reference: name }) => {
      const { password, disabled } = await readJson(exchange, userSchema);
      await administer(exchange, parts, (auth, token) =>
        auth
          .putUser(
            { token, name, password: password ?? "", disabled: disabled ?? false },
            { timeoutMs: CHANGE_TIMEOUT_MS },
          )
          .then(revisionOnly),
      );
    },
    DELETE: (exchange, { reference: name }) =>
      administer(exchange, parts, (auth, token) =>
        auth.removeUser({ token, name }, { timeoutMs: CHANGE_TIMEOUT_MS }).then(revisionOnly),
      ),
  };
}

/** `PUT /v2/_meridian/grants`: gives a role on a repository prefix, or takes it away. */
export function grantsRoute(parts: AdministrationParts): ResourceHandlers {
  return {
    PUT: async (exchange) => {
      const grant = await readJson(exchange, grantSchema);
      await administer(exchange, parts, (auth, token) =>
        auth.putGrant({ token, ...grant }, { timeoutMs: CHANGE_TIMEOUT_MS }).then(revisionOnly),
      );
    },
  };
}

function revisionOnly({ revision }: { readonly revision: string }): { revision: string } {
  return { revision };
}
