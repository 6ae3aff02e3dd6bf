import type { Environment } from './config.ts';
import { isRecord } from './faults.ts';

/** In a value of the file, `${SMS_UZ_PASSWORD}` is what that variable says: credentials do not belong into a file. */
export class NamedVariables {
  readonly #environment: Environment;
  readonly #names = new Set<string>();

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** Was it named by any value so far? */
  has(variable: string): boolean {
    return this.#names.has(variable);
  }

  /** The settings with what their variables say; one that is not set goes into `faults`. */
  fill(settings: Record<string, unknown>, place: string, faults: string[]): Record<string, unknown> {
    return Object.fromEntries(
      Object.entries(settings).map(([key, value]) => [key, this.#read(value, `${place}.${key}`, faults)]),
    );
  }

  #read(value: unknown, place: string, faults: string[]): unknown {
    if (Array.isArray(value)) return value.map((item, index) => this.#read(item, `${place}.${index}`, faults));
    if (isRecord(value)) return this.fill(value, place, faults);
    if (typeof value !== 'string') return value;
    return value.replace(/\$\{([^}]*)\}/g, (_, variable: string) => {
      // Passed on as it stands, it would be a secret that anybody can read in the file.
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(variable)) {
        faults.push(`${place} has \${${variable}}, which names no variable: \${SOME_NAME}`);
        return '';
      }
      this.#names.add(variable);
      const filled = this.#environment[variable]?.trim() ?? '';
      if (filled === '') faults.push(`${place} names ${variable}, and that variable is not set`);
      return filled;
    });
  }
}
