import { describeSurvival } from './survival-suite.ts';

describeSurvival('postgres');
