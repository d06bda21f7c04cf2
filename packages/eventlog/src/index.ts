export type {
  AppendOptions,
  Bulletin,
  Cursor,
  EventLog,
  EventLogReader,
  EventLogs,
  EventLogWriter,
  Incarnation,
  LogEntry,
  NewEntry,
  ResumeCheck,
  TailBatch,
} from "./event-log.ts";
