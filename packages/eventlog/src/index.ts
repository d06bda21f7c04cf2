export { confirmedCheck } from "./confirmed-check.ts";
export { compareIncarnations, decodeCursor, encodeCursor } from "./cursor.ts";
export { type EmbeddedLogsOptions, openEmbeddedLogs } from "./embedded/open-embedded-logs.ts";
export type {
  AppendOptions,
  Bulletin,
  ConditionalEntry,
  Cursor,
  DiscardedEntry,
  EventLog,
  EventLogReader,
  EventLogs,
  EventLogWriter,
  Incarnation,
  LogEntry,
  NewEntry,
  OpenOptions,
  ResumeCheck,
  TailBatch,
  TailOptions,
} from "./event-log.ts";
export { contendForLease, type Lease, type LeaseOptions } from "./lease.ts";
export { beginsLaterLife, decodeLife, encodeLife, lifePrefix, lifeSubject } from "./life.ts";
export { type NatsLogsOptions, openNatsLogs } from "./open-nats-logs.ts";
export { isSessionSubject } from "./session.ts";
export { MAX_PAYLOAD_BYTES, subjectPrefix } from "./stream-name.ts";
