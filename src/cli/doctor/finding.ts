/** What the doctor found out about one thing. */
export type Finding =
  | { readonly check: string; readonly result: 'fine'; readonly detail: string }
  /** `fix`: what to do about it */
  | { readonly check: string; readonly result: 'fault'; readonly detail: string; readonly fix: string }
  /** not looked at, and why */
  | { readonly check: string; readonly result: 'skipped'; readonly detail: string };

export function fine(check: string, detail: string): Finding {
  return { check, result: 'fine', detail };
}

export function fault(check: string, detail: string, fix: string): Finding {
  return { check, result: 'fault', detail, fix };
}

export function skipped(check: string, detail: string): Finding {
  return { check, result: 'skipped', detail };
}
