import type { Bench } from './measure.ts';
import type { Section } from './options.ts';
import { measureConsumer } from './sections/consumer.ts';
import { measureGrowth } from './sections/growth.ts';
import { measureHalfLoad } from './sections/half-load.ts';
import { measureLoneCaller } from './sections/lone.ts';
import { measureMemory } from './sections/memory.ts';
import { measureNodes } from './sections/nodes.ts';
import { measurePairs } from './sections/pairs.ts';
import { measureReady } from './sections/ready.ts';
import { countRoundTrips } from './sections/round-trips.ts';
import type { SectionReport } from './sections/section.ts';

export const runSection: Readonly<Record<Section, (bench: Bench) => Promise<SectionReport>>> = {
  pairs: measurePairs,
  lone: measureLoneCaller,
  'half-load': measureHalfLoad,
  ready: measureReady,
  growth: measureGrowth,
  memory: measureMemory,
  'round-trips': countRoundTrips,
  nodes: measureNodes,
  consumer: measureConsumer,
};
