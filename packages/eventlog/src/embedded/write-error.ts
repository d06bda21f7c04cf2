import { ContentError, ContentErrorKind } from "@meridian/oci";
import { lackOfSpace } from "./free-space.ts";

/**
 * What a failed transaction of the file becomes: `no-space` when its disk is full, else `unavailable`. LMDB calls a write
 * that was cut short for want of space an input/output error, so the disk itself is asked too.
 */
export async function writeError(failure: unknown, folder: string): Promise<ContentError> {
  if (failure instanceof ContentError) {
    return failure;
  }
  const cause = (await reasonOf(failure)) ?? failure;
  const message = cause instanceof Error ? cause.message : String(cause);
  if (/ENOSPC|EDQUOT|EFBIG|MDB_MAP_FULL|No space|too large/i.test(message)) {
    return new ContentError(ContentErrorKind.noSpace, "the disk of the log is full", { cause });
  }
  const lack = await lackOfSpace(folder).catch(() => undefined);
  if (lack !== undefined) {
    return new ContentError(ContentErrorKind.noSpace, lack, { cause });
  }
  const advice = "is its disk full or failing?";
  return new ContentError(ContentErrorKind.unavailable, `the log could not be written (${message}): ${advice}`, {
    cause,
  });
}

/** Lmdb tells the reason of a failed commit by a second promise on the error, which would end the process uncaught. */
async function reasonOf(failure: unknown): Promise<unknown> {
  const detail = (failure as { commitError?: Promise<never> } | undefined)?.commitError;
  return detail?.catch((reason: unknown) => reason);
}
