import type { FileConfig } from 'countersign';
import chaski from '../chaski/countersign.config.ts';
import marque from '../marque/countersign.config.ts';
import messaggioBackend from '../messaggio-backend/countersign.config.ts';
import mgask from '../mgask/countersign.config.ts';
import royalTaxi from '../royal-taxi/countersign.config.ts';

// No two of them share a path, so one server speaks for all five.
export default {
  apps: { ...royalTaxi.apps, ...marque.apps, ...mgask.apps, ...chaski.apps, ...messaggioBackend.apps },
} satisfies FileConfig;
