import { type ShadowEntry, shadowOutcomes } from '../../domain/shadow.ts';

type ShadowRow = {
  readonly day: string;
  readonly app: string;
  readonly dialect: string;
  readonly route: string;
  readonly outcome: string;
  /** 0 where there was none */
  readonly upstream_status: number;
  readonly our_status: number;
  readonly difference: string;
  readonly count: number;
  readonly upstream_example: string;
  readonly our_example: string;
};

export function shadowRecordOf(entry: ShadowEntry): ShadowRow {
  return {
    day: entry.day,
    app: entry.app,
    dialect: entry.dialect,
    route: entry.route,
    outcome: entry.outcome,
    upstream_status: entry.upstreamStatus ?? 0,
    our_status: entry.ourStatus ?? 0,
    difference: entry.difference,
    count: entry.count,
    upstream_example: entry.upstreamExample,
    our_example: entry.ourExample,
  };
}

export function shadowEntryOf(row: ShadowRow): ShadowEntry {
  return {
    day: row.day,
    app: row.app,
    dialect: row.dialect,
    route: row.route,
    // Of a newer version, perhaps: then it is no comparison that this one could judge.
    outcome: shadowOutcomes.find((outcome) => outcome === row.outcome) ?? 'not-compared',
    upstreamStatus: row.upstream_status || undefined,
    ourStatus: row.our_status || undefined,
    difference: row.difference,
    count: row.count,
    upstreamExample: row.upstream_example,
    ourExample: row.our_example,
  };
}
