import type { ChannelOptions } from "@grpc/grpc-js";

/** The deadline of a unary call that names none, in milliseconds. */
export const DEFAULT_UNARY_TIMEOUT_MS = 5_000;

/**
 * Bytes in flight per stream and per connection, at both ends. HTTP/2's default of 64 KiB stalls a stream over a link
 * with 80 ms round trip at 800 KB/s.
 */
export const FLOW_CONTROL_WINDOW_BYTES = 8 * 1024 * 1024;

/** The largest message in either direction, in bytes. */
export const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/** What both ends set. */
const COMMON_OPTIONS: ChannelOptions = {
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.keepalive_timeout_ms": 5_000,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc-node.flow_control_window": FLOW_CONTROL_WINDOW_BYTES,
};

/** A server's own pings only have to find connections whose client is gone without a word, some time. */
export const SERVER_OPTIONS: ChannelOptions = { ...COMMON_OPTIONS, "grpc.keepalive_time_ms": 60_000 };

/**
 * What a channel sets beside: pings that find a dead connection within 15 s, also when it is idle; quick reconnecting, so that a restarted peer is found again, and no proxy
 * or DNS config.
 */
export const CHANNEL_OPTIONS: ChannelOptions = {
  ...COMMON_OPTIONS,
  "grpc.keepalive_time_ms": 10_000,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 2_000,
  "grpc.dns_min_time_between_resolutions_ms": 1_000,
  "grpc.enable_http_proxy": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc.use_local_subchannel_pool": 1,
};
