export * as authV1 from "./gen/meridian/auth/v1/auth_pb.ts";
export * as blobV1 from "./gen/meridian/blob/v1/blob_pb.ts";
export * as linkV1 from "./gen/meridian/link/v1/link_pb.ts";
export * as nodeV1 from "./gen/meridian/node/v1/node_pb.ts";
export * as policyV1 from "./gen/meridian/policy/v1/policy_pb.ts";
export * as recordV1 from "./gen/meridian/record/v1/record_pb.ts";
export * as replicationV1 from "./gen/meridian/replication/v1/replication_pb.ts";
export * as siteV1 from "./gen/meridian/site/v1/site_pb.ts";
