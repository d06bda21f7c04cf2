import { readFile } from "node:fs/promises";
import type { Clock } from "@meridian/runtime";
import type { S3Credentials } from "@meridian/storage/s3";
import { usageError } from "../exit-status.ts";
import type { S3Config } from "./storage-config.ts";

/** Files are read again after so long: who renews them need not restart anything. */
const FRESH_MS = 30_000;

/**
 * Where the credentials come from: the files that the configuration names, else the environment.
 * @throws CommandError (exit code 2) when there are none.
 */
export async function s3Credentials(
  config: S3Config,
  { env, clock }: { readonly env: NodeJS.ProcessEnv; readonly clock: Clock },
): Promise<() => Promise<S3Credentials>> {
  const { accessKeyFile, secretKeyFile, sessionTokenFile } = config;
  if (accessKeyFile === undefined || secretKeyFile === undefined) {
    const credentials = fromEnvironment(env);
    return async () => credentials;
  }
  const read = async (): Promise<S3Credentials> => ({
    accessKeyId: await secretIn(accessKeyFile),
    secretAccessKey: await secretIn(secretKeyFile),
    ...(sessionTokenFile === undefined ? {} : { sessionToken: await secretIn(sessionTokenFile) }),
  });
  let credentials = await read();
  let readAt = clock.monotonic();
  return async () => {
    if (clock.monotonic() - readAt < FRESH_MS) return credentials;
    readAt = clock.monotonic();
    // A file that is just being replaced: the old ones may still do.
    credentials = await read().catch(() => credentials);
    return credentials;
  };
}

function fromEnvironment(env: NodeJS.ProcessEnv): S3Credentials {
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN } = env;
  if (!AWS_ACCESS_KEY_ID || !AWS_SECRET_ACCESS_KEY) {
    throw usageError(
      "storage.s3: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or accessKeyFile and secretKeyFile",
    );
  }
  return {
    accessKeyId: AWS_ACCESS_KEY_ID,
    secretAccessKey: AWS_SECRET_ACCESS_KEY,
    ...(AWS_SESSION_TOKEN ? { sessionToken: AWS_SESSION_TOKEN } : {}),
  };
}

async function secretIn(path: string): Promise<string> {
  let text: string;
  try {
    text = (await readFile(path, "utf8")).trim();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unreadable";
    throw usageError(`storage.s3: ${path} cannot be read (${code})`, { cause: error });
  }
  if (text === "") throw usageError(`storage.s3: ${path} is empty`);
  return text;
}
