import { chaski } from './chaski.ts';
import type { Dialect } from './dialect.ts';
import { marque } from './marque.ts';
import { messaggioBackend } from './messaggio-backend.ts';
import { mgask } from './mgask.ts';
import { royalTaxi } from './royal-taxi.ts';

/** The built-in dialects. A new one is one file and one line here. */
export const dialects: readonly Dialect[] = [royalTaxi, marque, mgask, chaski, messaggioBackend];
