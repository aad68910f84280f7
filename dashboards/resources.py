"""What the fleet takes of its machines."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from dashboards.panels import board, choice, lines

NODE = 'ip=~"$node"'


def resources() -> Dashboard:
    """Build the board."""
    about = "Processors, memory, disks and GPUs, by node and by part of the fleet."
    return (
        board("rayfleet-resources", "Rayfleet: resources", about)
        .with_variable(choice("node", "Node", "label_values(ray_node_cpu_count, ip)", several=True))
        .with_row(Row("Nodes"))
        .with_panel(
            lines(
                "Processors busy",
                (f"max by (ip) (ray_node_cpu_utilization{{{NODE}}})", "{{ip}}"),
                unit="percent",
                top=100,
            )
        )
        .with_panel(
            lines(
                "Memory taken",
                (
                    f"max by (ip) (ray_node_mem_used{{{NODE}}} / ray_node_mem_total{{{NODE}}})",
                    "{{ip}}",
                ),
                unit="percentunit",
                top=1,
                about="At 95 % Ray kills workers.",
            )
        )
        .with_panel(
            lines(
                "Disk free",
                (f"min by (ip) (ray_node_disk_free{{{NODE}}})", "{{ip}}"),
                unit="bytes",
            )
        )
        .with_panel(
            lines(
                "Object store taken",
                (
                    'sum by (NodeAddress) (ray_object_store_memory{Location!="SPILLED"})',
                    "{{NodeAddress}}",
                ),
                unit="bytes",
            )
        )
        .with_row(Row("Parts of the fleet"))
        .with_panel(
            lines(
                "Memory by part",
                (
                    f'topk(15, sum by (Component) (ray_component_rss_bytes{{{NODE},Component=~"ray::ServeReplica.+"}}))',
                    "{{Component}}",
                ),
                unit="bytes",
                stacked=True,
                about="Resident memory of the replicas of each version, of the gateways and of the controller.",
            )
        )
        .with_panel(
            lines(
                "Processors by part",
                (
                    f'topk(15, sum by (Component) (ray_component_cpu_percentage{{{NODE},Component=~"ray::ServeReplica.+"}}))',
                    "{{Component}}",
                ),
                unit="percent",
                about="100 is one processor.",
            )
        )
        .with_panel(
            lines(
                "Replicas by application",
                ("sum by (application) (ray_serve_deployment_replica_healthy)", "{{application}}"),
                unit="none",
            )
        )
        .with_panel(
            lines(
                "Replicas that are gone",
                (
                    (
                        "count by (application) (ray_serve_deployment_replica_starts_total"
                        " unless on (application, deployment, replica) ray_serve_deployment_replica_healthy == 1)"
                    ),
                    "{{application}}",
                ),
                unit="none",
                about="Began once and are not there, or not healthy.",
            )
        )
        .with_row(Row("GPUs"))
        .with_panel(
            lines(
                "GPU memory taken",
                (
                    (
                        f"ray_node_gram_used{{{NODE}}}"
                        f" / (ray_node_gram_used{{{NODE}}} + ray_node_gram_available{{{NODE}}})"
                    ),
                    "{{ip}} GPU {{GpuIndex}}",
                ),
                unit="percentunit",
                top=1,
            )
        )
        .with_panel(
            lines(
                "GPU budgets used",
                (
                    (
                        "max by (application, replica) (ray_rayfleet_gpu_memory_bytes)"
                        " / max by (application, replica) (ray_rayfleet_gpu_budget_bytes)"
                    ),
                    "{{application}} {{replica}}",
                ),
                unit="percentunit",
                top=1,
            )
        )
    )
