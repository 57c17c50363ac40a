// A dashboard file as Grafana's published schema has it, for tsc --strict: see test_schema.py.

import type { DataQuery, Dashboard, Panel } from "@grafana/schema";
import type { Options as Stat } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type {
  FieldConfig as Lines,
  Options as TimeSeries,
} from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

// The schema's string enums by their values: JSON has no enums.
type Json<T> = unknown extends T ? T : T extends string ? `${T}` : T extends object ? { [K in keyof T]: Json<T[K]> } : T;

// The schema has no queries of Prometheus: these are the fields we use.
interface Query extends DataQuery {
  expr: string;
  editorMode: "code";
  legendFormat: string;
  range?: boolean;
  instant?: boolean;
}

// The schema leaves open what belongs to one type of panel: options, and the custom part of the field configuration.
type Known = "type" | "options" | "fieldConfig" | "targets";
type Of<Type, Options, Custom> = Omit<Panel, Known> & {
  type: Type;
  options: Options;
  fieldConfig: {
    defaults: Omit<NonNullable<Panel["fieldConfig"]>["defaults"], "custom"> & { custom?: Custom };
    overrides: NonNullable<Panel["fieldConfig"]>["overrides"];
  };
  targets: Query[];
};

export type Board = Json<
  Omit<Dashboard, "panels"> & { panels: (Of<"stat", Stat, never> | Of<"timeseries", TimeSeries, Lines>)[] }
>;
