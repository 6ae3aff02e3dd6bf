import type { Breaker } from '../../domain/circuit-breaker.ts';
import type { PhoneNumber } from '../../domain/phone-number.ts';
import type { ApiKey, Resource, ResourceBody, SharedBreaker, SigningKey } from '../../domain/store.ts';
import type { UsageChange } from '../../domain/usage.ts';
import type { User } from '../../domain/user.ts';
import { hexToBytes } from '../records.ts';
import { fromSqlJson } from './json.ts';

// Rows of the smaller tables, as the steps return them.

export type UserRow = { app: string; id: number; number: string; name: string; full_name: string; created_at: number };

export function userOf(row: UserRow): User {
  return {
    app: row.app,
    id: String(row.id),
    number: row.number as PhoneNumber,
    name: row.name,
    fullName: row.full_name,
    createdAt: row.created_at,
  };
}

export function optionalUser(row: unknown): User | undefined {
  return row === null ? undefined : userOf(row as UserRow);
}

export type ResourceRow = {
  position: number;
  app: string;
  kind: string;
  id: string;
  parent: string;
  unique_key: string | null;
  body: string;
  created_at: number;
  updated_at: number;
};

export function resourceOf(row: ResourceRow): Resource {
  return {
    app: row.app,
    kind: row.kind,
    id: row.id,
    parent: row.parent === '' ? undefined : row.parent,
    uniqueKey: row.unique_key ?? undefined,
    body: fromSqlJson(row.body) as ResourceBody,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

export type ApiKeyRow = {
  id: string;
  app: string;
  name: string;
  hash: string;
  created_at: number;
  revoked_at: number | null;
};

export function apiKeyOf({ id, app, name, hash, created_at: createdAt, revoked_at: revokedAt }: ApiKeyRow): ApiKey {
  return { id, app, name, hash, createdAt, revokedAt: revokedAt ?? undefined };
}

export type SigningKeyRow = { id: string; sealed_private_key: string; public_jwk: string; created_at: number };

export function signingKeyOf(row: SigningKeyRow): SigningKey {
  return {
    id: row.id,
    sealedPrivateKey: hexToBytes(row.sealed_private_key),
    publicJwk: row.public_jwk,
    createdAt: row.created_at,
  };
}

export type BreakerRow = { provider: string; place: string; breaker: Breaker; changed_at: number };

/** JSON leaves out what is undefined. */
export function breakerOf({ provider, place, breaker, changed_at: changedAt }: BreakerRow): SharedBreaker {
  const empty = { openUntil: undefined, trialUntil: undefined, reason: undefined };
  return { provider, place, breaker: { ...empty, ...breaker }, changedAt };
}

export type UsageRow = UsageChange['key'] & {
  sent: number;
  codes: number;
  delivered: number;
  failed: number;
  approved: number;
  cost_micros: number;
  code_cost_micros: number;
  approved_cost_micros: number;
};

export function usageOf(row: UsageRow): UsageChange {
  const { day, app, provider, country, currency, sent, codes, delivered, failed, approved } = row;
  return {
    key: { day, app, provider, country, currency },
    counts: {
      sent,
      codes,
      delivered,
      failed,
      approved,
      costMicros: row.cost_micros,
      codeCostMicros: row.code_cost_micros,
      approvedCostMicros: row.approved_cost_micros,
    },
  };
}
