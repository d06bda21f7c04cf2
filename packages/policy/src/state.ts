import { ContentError, ContentErrorKind } from "@meridian/oci";
import type { policyV1 } from "@meridian/wire";
import { keyOfDoc } from "./entry-key.ts";
import { isMember, membershipOf } from "./membership.ts";
import { compareEpochs, formatRevision, type Position, positionOf } from "./position.ts";
import { RepositorySettingsTable } from "./repository-settings-table.ts";

/** What became of an entry: effective, ignored (lost to another writer, or of an old epoch), or folded before. */
export type FoldOutcome = "applied" | "superseded" | "duplicate";

/**
 * The fold of the policy log, identical everywhere. It takes every committed entry once, in order, and ignores one whose
 * epoch is old or whose base revision is not current for its key.
 */
export class PolicyState {
  #position: Position | undefined;
  readonly #users = new Map<string, policyV1.User>();
  readonly #grants = new Map<string, readonly policyV1.Grant[]>();
  readonly #keys = new Map<string, policyV1.SigningKey>();
  readonly #members = new Set<string>();
  readonly #sites = new Map<string, policyV1.Member>();
  #settings: policyV1.Settings | undefined;
  readonly #repositories = new RepositorySettingsTable();
  readonly #revisions = new Map<string, number>();
  readonly #superseded = new Set<number>();

  /** The last folded entry; undefined before the first. */
  get position(): Position | undefined {
    return this.#position;
  }

  /** Sequence of the last folded entry; 0 before the first. */
  get seq(): number {
    return this.#position?.seq ?? 0;
  }

  /** `<epoch>.<rev>`. */
  get revision(): string {
    return formatRevision(this.#position);
  }

  /** Users by name. */
  get users(): ReadonlyMap<string, policyV1.User> {
    return this.#users;
  }

  /** Grants by principal ("*" for everybody), the longest prefix first. */
  get grants(): ReadonlyMap<string, readonly policyV1.Grant[]> {
    return this.#grants;
  }

  /** Token signing keys by key id. */
  get keys(): ReadonlyMap<string, policyV1.SigningKey> {
    return this.#keys;
  }

  /** Member sites that the log names; only complete once {@link PolicyState.settings} is there. */
  get members(): ReadonlySet<string> {
    return this.#members;
  }

  /** What the log says of each site that is a member, or was one. */
  get sites(): ReadonlyMap<string, policyV1.Member> {
    return this.#sites;
  }

  /** Settings of the cluster; undefined until the bootstrap has ended. */
  get settings(): policyV1.Settings | undefined {
    return this.#settings;
  }

  /** What is set for repositories. */
  get repositories(): Pick<RepositorySettingsTable, "of" | "at" | "entries"> {
    return this.#repositories;
  }

  /** Sequence of the last effective entry for a key, removals included; 0 when there never was one. */
  revisionOf(key: string): number {
    return this.#revisions.get(key) ?? 0;
  }

  /** True when the folded entry at this sequence was ignored. */
  wasSuperseded(seq: number): boolean {
    return this.#superseded.has(seq);
  }

  /**
   * Folds the next committed entry.
   * @throws ContentError `invalid` when it leaves a gap.
   */
  apply(entry: policyV1.Entry): FoldOutcome {
    const position = positionOf(entry);
    if (position.seq <= this.seq) return "duplicate";
    if (position.seq !== this.seq + 1)
      throw new ContentError(ContentErrorKind.invalid, `policy entry ${position.seq} does not follow ${this.seq}`);
    if (this.#isIgnored(entry, position)) {
      this.#superseded.add(position.seq);
      // The epoch never goes back, whatever an ignored entry says.
      const epoch = this.#position?.epoch ?? position.epoch;
      this.#position = { epoch: compareEpochs(position.epoch, epoch) > 0 ? position.epoch : epoch, seq: position.seq };
      return "superseded";
    }
    this.#position = position;
    this.#revisions.set(entry.key, position.seq);
    this.#set(entry, position.seq);
    return "applied";
  }

  #isIgnored(entry: policyV1.Entry, position: Position): boolean {
    if (this.#position && compareEpochs(position.epoch, this.#position.epoch) < 0) return true;
    if (Number(entry.baseRev) !== this.revisionOf(entry.key)) return true;
    const expected = keyOfDoc(entry.doc);
    return expected !== undefined && expected !== entry.key;
  }

  #set(entry: policyV1.Entry, seq: number): void {
    const { doc } = entry;
    switch (doc.case) {
      case "user":
        this.#users.set(doc.value.name, doc.value);
        break;
      case "grant":
        this.#putGrant(doc.value);
        break;
      case "signingKey":
        this.#keys.set(doc.value.keyId, doc.value);
        break;
      case "member":
        this.#putMember(doc.value);
        break;
      case "settings":
        this.#settings = doc.value;
        break;
      case "repositorySettings":
        this.#repositories.put(doc.value);
        break;
      case "removed":
        this.#remove(entry.key, seq);
        break;
      default:
        // A document of a newer version: its key's revision counts, its content is not understood here.
        break;
    }
  }

  #putMember(member: policyV1.Member): void {
    this.#sites.set(member.site, member);
    if (isMember(membershipOf(member))) this.#members.add(member.site);
    else this.#members.delete(member.site);
    if (membershipOf(member) === "expelled") this.#dropKeys(member.site);
  }

  /** Tokens that an expelled site signs are worth nothing from then on. */
  #dropKeys(site: string): void {
    for (const [id, key] of this.#keys) if (key.site === site) this.#keys.delete(id);
  }

  #putGrant(grant: policyV1.Grant): void {
    const others = this.#otherGrants(grant.principal, grant.repositoryPrefix);
    const sorted = [...others, grant].toSorted(
      (a, b) =>
        b.repositoryPrefix.length - a.repositoryPrefix.length || (a.repositoryPrefix < b.repositoryPrefix ? -1 : 1),
    );
    this.#grants.set(grant.principal, sorted);
  }

  #otherGrants(principal: string, prefix: string): policyV1.Grant[] {
    return (this.#grants.get(principal) ?? []).filter((held) => held.repositoryPrefix !== prefix);
  }

  #remove(key: string, seq: number): void {
    const slash = key.indexOf("/");
    const kind = key.slice(0, slash);
    const name = key.slice(slash + 1);
    if (kind === "user") this.#removeUser(name, seq);
    else if (kind === "grant") this.#removeGrant(name);
    else if (kind === "key") this.#keys.delete(name);
    else if (kind === "member") this.#removeMember(name);
    else if (kind === "settings") this.#settings = undefined;
    else if (kind === "repo") this.#repositories.remove(name);
  }

  #removeMember(site: string): void {
    this.#members.delete(site);
    this.#sites.delete(site);
  }

  /** A user's grants go with it, in the same step: a later user of that name starts with none. */
  #removeUser(name: string, seq: number): void {
    this.#users.delete(name);
    for (const grant of this.#grants.get(name) ?? [])
      this.#revisions.set(`grant/${name}/${grant.repositoryPrefix}`, seq);
    this.#grants.delete(name);
  }

  #removeGrant(name: string): void {
    const slash = name.indexOf("/");
    const principal = name.slice(0, slash);
    const others = this.#otherGrants(principal, name.slice(slash + 1));
    if (others.length === 0) this.#grants.delete(principal);
    else this.#grants.set(principal, others);
  }
}
