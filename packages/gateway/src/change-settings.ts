import { Role } from "@meridian/cluster";
import { type RepositorySettingsTable, tagDeciders } from "@meridian/policy";
import { siteV1 } from "@meridian/wire";
import { type AdministrationParts, askAuth, CHANGE_TIMEOUT_MS } from "./administer.ts";
import type { Exchange } from "./exchange.ts";
import { unavailable } from "./refusal.ts";

/** What {@link changeSettings} needs. */
export interface ChangeSettingsParts extends AdministrationParts {
  readonly settings: Pick<RepositorySettingsTable, "of">;
}

/** What is to be changed. */
export interface SettingsRequest {
  /** Empty for every repository. */
  readonly prefix: string;
  readonly values: Readonly<Record<string, string>>;
  /** Moves a home of tags without asking the sites that decided before. */
  readonly acceptLoss: boolean;
}

const HAND_OVER_TIMEOUT_MS = 8_000;

/**
 * Changes what is set for repositories. A home of tags moves in two steps: from the first on nobody decides, then each
 * gateway of the sites that decided before says what it decided last, and the second lets the new home begin.
 * @throws Refusal as {@link askAuth} does; 503 when a site does not acknowledge: repeat it, set it back, or accept losses.
 */
export async function changeSettings(
  exchange: Exchange,
  change: SettingsRequest,
  parts: ChangeSettingsParts,
): Promise<{ readonly revision: string }> {
  const { prefix, values, acceptLoss } = change;
  await parts.access.admitAny(exchange);
  // Before anything changes: to begin a move that cannot end would stop all writes of these tags.
  await acknowledgements({ revision: "", handoverFrom: formerDeciders(change, parts) }, parts);
  const begun = await askAuth(exchange, parts, async (auth, token) => {
    const request = { token, prefix, values: { ...values }, acceptLoss };
    const { revision, handoverFrom } = await auth.putRepositorySettings(request, { timeoutMs: CHANGE_TIMEOUT_MS });
    return { revision, handoverFrom };
  });
  if (begun.handoverFrom.length === 0) return { revision: begun.revision };
  const after = await acknowledgements(begun, parts);
  return askAuth(exchange, parts, async (auth, token) => {
    const handover = { revision: begun.revision, after };
    const { revision } = await auth.putRepositorySettings(
      { token, prefix, handover },
      { timeoutMs: CHANGE_TIMEOUT_MS },
    );
    return { revision };
  });
}

/** The sites that will have to acknowledge, as far as this gateway knows; the auth decides. */
function formerDeciders(
  { prefix, values, acceptLoss }: SettingsRequest,
  { settings, topology }: ChangeSettingsParts,
): readonly string[] {
  const home = /^home:(.+)$/.exec(values.tags ?? "")?.[1];
  const deciders = tagDeciders(settings.of(prefix).tags?.value, topology.sites);
  return acceptLoss || home === undefined || deciders.every((site) => site === home) ? [] : deciders;
}

/** The version tokens of all gateways of the sites; without a revision only whether they answer. */
async function acknowledgements(
  { revision, handoverFrom }: { readonly revision: string; readonly handoverFrom: readonly string[] },
  { peers }: ChangeSettingsParts,
): Promise<string[]> {
  const gateways = handoverFrom.flatMap((site) => peers.processes(Role.gateway, site));
  const answers = await Promise.allSettled(
    gateways.map((address) =>
      peers.client(siteV1.TagHomeService, address).handOver({ revision }, { timeoutMs: HAND_OVER_TIMEOUT_MS }),
    ),
  );
  const silent = gateways.filter((_, index) => answers[index]!.status === "rejected");
  if (silent.length > 0) {
    const names = silent.map(({ site, process }) => `${site}/${process}`).join(", ");
    const message =
      revision === ""
        ? `${names} cannot acknowledge that others will decide about these tags: nothing was changed. Try again when they are back, or with --accept-loss`
        : `${names} did not acknowledge that others decide about these tags now, and until then nobody does: repeat the command, set the former home again, or move it with --accept-loss`;
    throw unavailable(message, { detail: { silent: names, revision } });
  }
  const versions = answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value.version : []));
  return [...new Set(versions)].filter((version) => version !== "");
}
