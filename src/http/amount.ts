import type { Money } from '../domain/price.ts';

/** Money as JSON has it: a number in the currency's unit. */
export function toAmount({ micros, currency }: Money): { amount: number; currency: string } {
  return { amount: micros / 1e6, currency };
}
