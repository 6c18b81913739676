//! Every word of the console, in English and in Chinese, in one table. PURE.
//!
//! A word without its other language does not compile. Names, codes, rules and what the cluster itself says are in none.

use crate::args::output::Lang;

/// Declares the words: name, English, Chinese.
macro_rules! words {
    ($($name:ident $english:literal $chinese:literal;)*) => {
        /// The words of one language.
        #[derive(Debug)]
        #[allow(missing_docs, reason = "each says itself what it is, in the table")]
        pub(crate) struct Words { $(pub(crate) $name: &'static str,)* }

        const ENGLISH: Words = Words { $($name: $english,)* };
        const CHINESE: Words = Words { $($name: $chinese,)* };

        #[cfg(test)]
        const ALL: &[(&str, &str, &str)] = &[$((stringify!($name), $english, $chinese),)*];
    };
}

words! {
    title "Mesh CNI" "网格 CNI";
    skip "Skip to the content" "跳到正文";
    sections "Sections" "栏目";
    settings "Settings" "设置";
    workloads "Workloads" "工作负载";
    nodes "Nodes" "节点";
    history "History" "历史";
    appearance "Language and colours" "语言与配色";
    light "Light" "浅色";
    dark "Dark" "深色";
    by_system "As the system" "跟随系统";
    as_of "as of" "截至";
    generation "generation" "世代";
    close "Close" "关闭";
    details "Details" "详情";
    copy "Copy" "复制";
    report "Report to copy" "可复制的报告";
    code "Code" "代码";
    cause "Cause" "原因";
    affected "Affected" "受影响";
    next "Next" "下一步";
    same_command "The same from a terminal" "命令行的等价操作";
    state "State" "状态";
    logged_in_as "Logged in as" "当前用户";
    log_out "Log out" "退出登录";
    log_in "Log in" "登录";
    token "Token of the cluster" "集群令牌";
    token_means "It is kept in memory until you log out or it expires; all you see and do here is asked of the API server with it, by your own rights. This gives you one:" "令牌仅保存在内存中，直到您退出或其过期；此处的一切查看与操作都以该令牌、按您自己的权限向 API 服务器提出。用以下命令获取：";
    s_wrong_token "Not known" "未获认可";
    m_wrong_token "The API server does not know this token: it is wrong, expired, or for another audience." "API 服务器不认可该令牌：令牌有误、已过期，或属于其他受众。";
    s_unreviewed "It could not be found out whose token this is" "无法查明令牌归属";
    m_session_token "Log in again, with a new token if the old one is over." "请重新登录；如旧令牌已失效，请使用新令牌。";
    s_barred "You may not look at this" "您无权查看";
    m_barred "Your account may not read meshcnis.millrace.dev. Ask for a binding to the ClusterRole millrace-viewer, or millrace-operator to change it; then load this page again. (MR1105)" "您的账号无权读取 meshcnis.millrace.dev。请申请绑定 ClusterRole millrace-viewer(如需修改则为 millrace-operator)，然后重新加载此页。(MR1105)";

    who_redirects "Who redirects the mesh's pods" "由谁重定向网格的 Pod";
    mode_cni "Mesh CNI: the node's chain, from outside the pod" "网格 CNI：由节点的 CNI 链在 Pod 之外完成";
    mode_init "Init containers: each pod by its own istio-init; agents stay ready" "初始化容器：各 Pod 由自己的 istio-init 完成；Agent 留守";
    mode_disabled "Off: as init containers, and the agents leave the nodes" "关闭：同初始化容器，且 Agent 离开节点";
    excluded "Namespaces to exclude" "需要排除的命名空间";
    excluded_means "Pods there start with istio-init, not by CNI. It acts when a pod is admitted: running pods stay as they are." "其中的 Pod 启动时由 istio-init 配置网络，不经 CNI。仅在准入时生效：运行中的 Pod 保持不变。";
    exclude "Exclude" "排除";
    namespace "Namespace" "命名空间";
    injection "Injection" "注入";
    by_cni "By CNI" "由 CNI";
    by_init "By istio-init" "由 istio-init";
    by_nobody "By nobody" "无人重定向";
    owes "Need a restart" "需重启";
    locked_by "held by" "归属";
    held_means "it was applied there; change it there, or take it over in the review" "由其应用；请在那里修改，或在查看变更时接管";
    locked_always "always: our webhook looks at no pod there" "始终排除：我们的 Webhook 不处理其中的 Pod";
    pods_changed "Pods that change" "发生变化的 Pod";
    pods_bare "of them nobody restarts" "其中无人会重启";
    more_namespaces "more namespaces" "个其他命名空间";
    not_there "no such namespace" "无此命名空间";
    search "Search" "搜索";
    find_namespace "Find namespaces by name" "按名称查找命名空间";
    more_rows "more; search to narrow the list down" "项未显示；请搜索以缩小范围";
    review "Review changes" "查看变更";
    unsent "There are changes that were not sent yet." "有尚未提交的变更。";
    update "Update settings" "更新设置";
    take_over "Review, taking over what others applied" "查看变更，并接管他人应用的字段";
    discard "Discard" "放弃";
    pending "Pending changes" "待提交的变更";
    no_changes "Nothing differs from what is there." "与现状没有差异。";
    accepted "The API server would accept it: it was tried and not kept." "API 服务器会接受该变更：已试运行，未保存。";
    refused "It cannot be done as it is" "现在无法完成";
    refused_means "Nothing was written." "尚未写入任何内容。";
    blast "What it does to pods, once they are restarted" "Pod 重启之后的影响";
    now "Now" "目前";
    after "After a restart" "重启之后";
    pod "Pod" "Pod";
    workload "Workload" "工作负载";
    nobody_restarts "none: nobody restarts it" "无：没有人会重启它";
    settings_differ "CNI, other settings" "CNI，设置不同";
    to_know "To be known" "须知";
    conflict "Somebody else changed it meanwhile" "此间已被他人修改";
    conflict_means "Compare the three, then review your change on top of what is there now. Nothing was written." "请比较三者，再在现状之上查看您的变更。尚未写入任何内容。";
    field "Field" "字段";
    you_saw "As you saw it" "您看到的";
    theirs "As it is now" "现在的";
    yours "As you want it" "您想要的";
    review_again "Review on top of what is there now" "在现状之上重新查看";

    progress "Progress" "进度";
    serve "serve" "在服务";
    all_nodes "All nodes" "所有节点";
    unheard "more should serve, and have not reported" "个节点应在服务但尚未上报";
    grid_unread "Reports of nodes cannot be read" "无法读取节点的上报";
    events "Events" "事件";
    events_unread "Events cannot be read" "无法读取事件";
    object "Object" "对象";
    times "Times" "次数";
    live "live" "实时";
    stale "stale" "已过时";
    updated "updated" "已更新";
    failed "failed" "失败";
    absent "absent" "离线";
    began "began" "开始于";
    moved "moved" "有进展于";
    stalled_in "stalled in" "视为停滞尚余";
    ago "ago" "前";
    pause "Pause" "暂停";
    resume "Resume" "继续";
    rollback "Roll back" "回滚";
    rollback_to "Roll back to this" "回滚到此";
    conditions "Conditions" "状况";
    since "Since" "始于";
    reason "Reason" "原因代码";
    message "Message" "说明";
    failing_nodes "Nodes that do not serve" "未服务的节点";
    preflight "Before it is switched on" "启用之前";

    pods_by "Pods of the mesh" "网格的 Pod";
    drifted "Drifted" "已漂移";
    all "All" "全部";
    filter "Filter" "筛选";
    mechanism "Redirected by" "重定向方式";
    in_node "Node" "节点";
    text_filter "Name contains" "名称包含";
    earlier "Previous page" "上一页";
    later "Next page" "下一页";
    nothing_found "Nothing matches." "没有匹配项。";
    truncated "Some could not be read" "部分内容未能读取";

    serves_yes "serves" "在服务";
    serves_no "does not serve" "未服务";
    serves_not_yet "does not serve yet" "尚未服务";
    version "Version" "版本";
    list "List" "列表";
    backend "Backend" "后端";
    redirected "Redirected" "已重定向";
    left_alone "Left alone" "未处理";
    reported "Reported" "上报";
    chain_before "Chain without us" "没有我们的链";
    chain_after "Chain as it is" "现在的链";
    who_writes "Who writes the list" "谁在写该列表";
    way_in_place "Somebody else's list; ours is one entry of it, put in and kept in by the agent" "列表属于他人；我们的只是其中一项，由 Agent 加入并维持";
    way_own "A list of the agent's own, with the entries of the one that it goes before; without us the runtime reads that one" "Agent 自有的列表，含其所优先于的那份列表的各项；没有我们时运行时读取那一份";
    way_auxiliary "A file of the agent's own in the auxiliary chain of Multus" "Agent 在 Multus 辅助链中的自有文件";
    nobody_else "Nobody keeps undoing our entry." "没有他人在撤销我们的条目。";
    never_reported "Its agent has not reported." "其 Agent 尚未上报。";
    wanted "wanted" "目标";
    config "Configuration" "配置";
    its_pods "Pods of the mesh on this node" "该节点上网格的 Pod";
    starts "Pods' starts since the agent serves" "Agent 服务以来 Pod 的启动";
    no_failures "None of the last starts failed." "最近没有失败的启动。";
    digest "Digest of the file" "文件摘要";
    last_failures "Last failures" "最近的失败";
    drifted_pods "Pods that drifted" "已漂移的 Pod";

    decision "Decision" "判定";
    is_redirected "redirected" "重定向";
    is_left_alone "left alone" "不处理";
    way_out "Way out" "解决办法";
    holds "holds" "成立";
    fails "does not hold" "不成立";
    condition "Condition" "条件";
    outside "outside the mesh" "网格之外";
    stays_so "the same" "不变";
    settings_from "Settings, from" "设置，来源于";
    as_every_pod "as for every pod" "与所有 Pod 相同";
    complaints "Complaints" "问题";
    rules_means "As iptables -L prints them, before any packet came." "如 iptables -L 所示，尚无数据包。";
    reasons "Why each rule is there" "每条规则的缘由";
    rules "Rules" "规则";
    rules_live "Rules, live" "实际的规则";
    live_means "What the pod holds now, with the counters of each rule, is looked at in its network namespace: on this machine if it is its node, else by the agent of its node." "Pod 当前实际的规则与各规则的计数器，需进入其网络命名空间查看：若本机即其节点则在本机，否则通过节点上的 Agent。";
    look_now "Look into the pod" "查看该 Pod";
    look_again "Look again" "重新查看";
    live_same "As planned: none missing, none foreign" "与规划一致：无缺失，无外来规则";
    live_theirs "As planned; what differs is this Istio's own way" "与规划一致；差异属此版 Istio 自身的写法";
    live_differs "Not as planned" "与规划不一致";
    live_unseen "It could not be looked into" "未能查看";
    live_none "There are no rules at all." "没有任何规则。";
    not_ours "not one of the redirection's" "不属于重定向";
    remembered "its agent remembers" "其 Agent 的记录";
    too_late "it took longer than" "耗时超过";
    way "Seen" "查看途径";
    packets "Packets" "数据包";
    rule "Rule" "规则";
    before "Before" "之前";
    afterwards "After" "之后";
    planned_rules "Rules, as planned" "规划的规则";
    probe "Probe" "探测";
    probe_means "Opens one connection outward and one inward for each address family inside the pod, as a stranger and as the proxy, which carry no byte, and reads the counters of the rules before and after, as millrace verify does." "在 Pod 内按地址族各打开一条向外与一条向内的连接 (分别以陌生用户与代理的身份，不携带任何字节)，并读取规则计数器的前后值，与 millrace verify 相同。";
    probe_now "Probe now" "立即探测";
    probing "Probing; it takes some seconds." "探测中，需要几秒。";
    probe_read_only "This console was started with --read-only; a probe sends traffic." "此控制台以 --read-only 启动；探测会产生流量。";
    probe_verified "VERIFIED" "VERIFIED (已验证)";
    probe_failed "NOT VERIFIED" "NOT VERIFIED (未通过验证)";
    probe_refused "Not probed" "未能探测";
    probe_not_sent "No probe was sent: the rules are not as planned." "未发送探测：规则与规划不一致。";
    probe_busy_pod "This pod is being probed; wait until that has ended." "该 Pod 正在被探测，请等待其结束。";
    probe_busy "Enough pods are being probed; try again in a moment." "正在探测的 Pod 已达上限，请稍后再试。";
    connection "Connection" "连接";
    counted_by "Counted by" "计数的规则";
    fate "Seen" "结果";
    yaml "What decides, as YAML" "决定因素 (YAML)";
    yaml_means "Annotations and labels of the pod that decide, with the stamp that the webhook gave it." "Pod 上起决定作用的注解与标签，以及 webhook 写入的印记。";
    yaml_anew "The same as it would be admitted now:" "若现在重新准入则为：";
    yaml_apply "The same as YAML, for kubectl apply --server-side -f -" "等价的 YAML，可用于 kubectl apply --server-side -f -";

    path "The packet's path" "数据包的路径";
    path_redirected "A connection from outside is led to the proxy's inbound port and from there to the app; one that the app opens is led to the proxy's outbound port and from there out." "外部来的连接被导向代理的入站端口，再到应用；应用发起的连接被导向代理的出站端口，再向外。";
    path_direct "Connections go to the app and from it directly; nobody leads them to a proxy." "连接直接进出应用，没有导向代理。";
    led "redirected" "已重定向";
    remote "outside" "外部";
    proxy "proxy" "代理";
    app "app" "应用";
    inbound "inbound" "入站";
    outbound "outbound" "出站";

    revision "Revision" "修订";
    by "By" "操作者";
    age "Age" "时长";
    changed "Changed" "变更";
    image "Image" "镜像";
    is_now "now" "当前";
    last_good "last good" "最近成功";
    differs "Against the one before" "与前一修订的差异";
    no_history "No change was recorded yet." "尚无变更记录。";

    s_loading "Loading" "读取中";
    m_loading "The cluster has not answered yet." "集群尚未应答。";
    s_disabled "Off" "未启用";
    m_disabled "Pods redirect themselves by their own init containers. What is in the way of switching on is listed below." "Pod 由自己的初始化容器完成重定向。启用前的妨碍列在下方。";
    s_clean "Init containers" "初始化容器";
    m_clean "Pods redirect themselves; agents are on the nodes, ready to be switched to." "Pod 自行重定向；Agent 已在节点上，可随时切换。";
    s_updating "Updating" "更新中";
    m_updating "The cluster is on its way to what is wanted." "集群正在转入所需状态。";
    s_paused "Paused" "已暂停";
    m_paused "The change stops where it is; nodes that serve go on serving." "变更停在当前位置；在服务的节点继续服务。";
    s_running "Running" "运行中";
    m_running "All nodes serve, and every pod of the mesh has what is wanted." "所有节点在服务，网格的每个 Pod 都已符合所需。";
    s_debt "Running, pods need a restart" "运行中，有 Pod 需重启";
    m_debt "Some pods get what is wanted only when they are restarted." "部分 Pod 在重启后才符合所需。";
    s_degraded "Degraded" "降级";
    m_degraded "The cluster is not where it should be." "集群未处于应有的状态。";
    s_stalled "Stalled" "停滞";
    m_stalled "Nothing has moved for too long." "长时间没有进展。";
    s_read_only "Read only" "只读";
    m_read_only "You may not change the MeshCNI: ask for the right to patch meshcnis.millrace.dev, or use another context." "您无权修改 MeshCNI：请申请 meshcnis.millrace.dev 的 patch 权限，或换用其他上下文。";
    m_read_only_flag "This console was started with --read-only." "此控制台以 --read-only 启动。";
    s_stream_lost "Not live" "非实时";
    m_stream_lost "The cluster cannot be watched; what is shown may be old." "无法监视集群；所示内容可能已过时。";
    s_unread "The cluster cannot be read" "无法读取集群";
    s_agents "Agents unreachable" "Agent 不可达";
    m_agents "Nodes that should serve have no agent that answers." "应在服务的节点上没有应答的 Agent。";
    s_injector "No injector" "没有注入器";
    m_injector "No sidecar injector was found: no pod gets a proxy to redirect to." "未找到 sidecar 注入器：没有 Pod 会得到可重定向到的代理。";
    s_chain "Chain conflict" "CNI 链冲突";
    m_chain "Somebody else writes a node's CNI chain." "有他人在改写节点的 CNI 链。";
    s_controller "Controller away" "控制器缺席";
    m_controller "No controller is known to act: nothing changes, and what the page says may be old." "没有控制器在工作：一切维持原状，页面所示可能已过时。";
    lease_free "nobody holds the controllers' Lease" "没有控制器持有 Lease";
    lease_silent "has the Lease and has not renewed it for" "持有 Lease 但未续约已有";
    not_looked_at "has not been looked at for" "尚未被处理已有";
    s_runtime "Unsupported runtime" "不支持的运行时";
    m_runtime "Nodes that should serve cannot: their runtime, kernel or platform is not supported." "部分应在服务的节点无法服务：其运行时、内核或平台不受支持。";
    may_not_patch "you may not patch meshcnis.millrace.dev" "您没有 meshcnis.millrace.dev 的 patch 权限";
    more "more" "项";
    s_session "Session expired" "会话已过期";
    m_session "Open the address that `millrace console` printed when it started; it lets you in again." "请打开 `millrace console` 启动时打印的地址，即可重新进入。";
    s_later "Too much at once" "请求过多";
    m_later "More was asked for than is granted; try again in" "请求超出限额；请在此时间后重试：";
    stream_cut "The live connection is cut; trying again. What is shown may be old." "实时连接已断开，正在重试。所示内容可能已过时。";
    reload "Reload" "重新加载";
    refused_title "Refused" "已拒绝";
    back "Back" "返回";
    not_found "There is no such page." "没有此页面。";
    welcome "You are in" "已进入";
}

impl Words {
    /// Those of a language.
    pub(crate) fn of(lang: Lang) -> &'static Words {
        match lang {
            Lang::En => &ENGLISH,
            Lang::Zh => &CHINESE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_there_in_both_languages() {
        for (name, english, chinese) in ALL {
            assert!(!english.is_empty() && english.is_ascii(), "{name}: {english:?} is no English");
            let is_chinese = |letter: char| ('\u{4e00}'..='\u{9fff}').contains(&letter);
            assert!(chinese.contains(is_chinese) || chinese == english, "{name}: {chinese:?} is no Chinese");
        }
    }
}
