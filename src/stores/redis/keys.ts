// The names of keys. All of an app have one hash tag: a step may touch any of them, in one script, also on a Cluster.

export function prefixOf(app: string): string {
  return `cs:{${app}}:`;
}

/** Says that the app's data is whole; the scripts make the names of its other keys from it. */
export function markerOf(app: string): string {
  return `${prefixOf(app)}warm`;
}

/** Who puts the app's data in order just now. */
export function revivingOf(app: string): string {
  return `${prefixOf(app)}reviving`;
}

/** What changed and is not in PostgreSQL yet. */
export function historyOf(app: string): string {
  return `${prefixOf(app)}history`;
}

/** What PostgreSQL does not take, for an operator to look at. */
export function refusedOf(app: string): string {
  return `${prefixOf(app)}refused`;
}

/** Up to which moment was swept, see `RedisStore.sweep`. */
export const SWEPT = 'swept';

export function sweptOf(app: string): string {
  return `${prefixOf(app)}${SWEPT}`;
}

/** Apps that have data here. */
export const APPS = 'cs:{apps}';

/** The name of this Redis, see `home.ts`. */
export const HOME = 'cs:{home}';

/** @param since until when there were nodes that keep nothing here: what was kept before that may have been revoked by them */
export function apiKeyOf(hash: string, since: number): string {
  return `cs:{key ${hash} ${since}}`;
}

/** Which message a provider's id belongs to, or a report that came before that is known: a report names no app. */
export function reportOf(provider: string, providerMessageId: string): string {
  return `cs:{report ${provider} ${providerMessageId}}`;
}
