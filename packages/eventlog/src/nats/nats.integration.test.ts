import { findNatsServer } from "./nats-server.fixture.ts";
import { natsSuites } from "./nats-suites.fixture.ts";

natsSuites(findNatsServer("MERIDIAN_NATS_SERVER", ["nats-server"], /^2\.(1\d|[2-9]\d)\./));
