import { findNatsServer } from "./nats-server.fixture.ts";
import { natsSuites } from "./nats-suites.fixture.ts";

// Debian 12's server: the oldest whose features the driver may use. A file of its own, so that both run at once.
const places = ["/usr/sbin/nats-server", "/usr/bin/nats-server", "nats-server"];
natsSuites(findNatsServer("MERIDIAN_NATS_SERVER_29", places, /^2\.9\./));
