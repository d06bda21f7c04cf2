import { ContentError, ContentErrorKind } from "@meridian/oci";
import { RetentionPolicy, StorageType, type StreamConfig, type StreamInfo } from "@nats-io/jetstream";
import type { Incarnation } from "../event-log.ts";
import { subjectPrefix } from "../stream-name.ts";

const FORMAT = 1;
const DESCRIPTION = /^meridian log format=(\d+) created=(\d+) id=([0-9A-Za-z_-]+)$/;

/**
 * The configuration of a new stream, of settings that nats-server 2.9 has. The incarnation stands in the description:
 * it is set with the creation, in one step, and goes when the stream goes.
 */
export function streamConfig(
  stream: string,
  { incarnation, compact, replicas }: { incarnation: Incarnation; compact: boolean; replicas: number },
): Partial<StreamConfig> & { name: string } {
  return {
    name: stream,
    description: `meridian log format=${FORMAT} created=${incarnation.created} id=${incarnation.id}`,
    subjects: [`${subjectPrefix(stream)}>`],
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    num_replicas: replicas,
    max_msgs_per_subject: compact ? 1 : -1,
    // Answers must come from the leader: an older state of a subject would be taken for the last one.
    allow_direct: false,
  };
}

/** What a stream's own configuration says about it. */
export interface StreamFacts {
  readonly incarnation: Incarnation;
  readonly compact: boolean;
  /** The last sequence. */
  readonly head: number;
}

/** Reads a stream. Throws ContentError `invalid` when Meridian did not make it, or a newer one did. */
export function streamFacts({ config, state }: StreamInfo): StreamFacts {
  const [, format, created, id] = DESCRIPTION.exec(config.description ?? "") ?? [];
  if (created === undefined || id === undefined) {
    const advice = "remove it, or give Meridian an account of its own";
    throw new ContentError(ContentErrorKind.invalid, `stream ${config.name} was not made by Meridian: ${advice}`);
  }
  if (Number(format) !== FORMAT) {
    const advice = `this version knows format ${FORMAT}`;
    throw new ContentError(ContentErrorKind.invalid, `stream ${config.name} has format ${format}: ${advice}`);
  }
  const incarnation = { created: BigInt(created), id };
  return { incarnation, compact: config.max_msgs_per_subject === 1, head: state.last_seq };
}
