import type { Digest } from "@meridian/oci";
import type { ByteSink, ByteSpan } from "@meridian/storage";
import { type HeldBackSink, holdBack } from "@meridian/transfer";

/** A sink that can be made to check what goes through it. */
export interface WholeCheck {
  readonly sink: ByteSink;
  /** A source is about to send. The first one decides: with `far`, all is hashed and the last piece held back. */
  begin(far: boolean): void;
  /** @throws ContentError `digest-mismatch`: the last piece never leaves. */
  finish(): Promise<void>;
}

/** Of a part of a blob no hash is known: it goes through as it is. */
export function checkWhole(digest: Digest, size: number, span: ByteSpan, sink: ByteSink): WholeCheck {
  const whole = span.start === 0 && span.end === size;
  let begun = false;
  let checked: HeldBackSink | undefined;
  return {
    begin(far) {
      if (!begun) checked = whole && far ? holdBack(digest, size, sink) : undefined;
    },
    sink: {
      write(chunk) {
        begun = true;
        return (checked ?? sink).write(chunk);
      },
    },
    finish: async () => checked?.finish(),
  };
}
